"""Asks endpoints (HOST:PORT ...) for completions in pieces through OpenAI's own client, and prints the pieces."""

import openai
import telling


def tell(endpoint):
    client = openai.OpenAI(base_url=f"http://{endpoint}/openai/v1", api_key="none", max_retries=0, timeout=60)

    def pieces(prompt, **options):
        try:
            with client.completions.create(model="speaker", prompt=prompt, stream=True, **options) as stream:
                return [[chunk.choices[0].text, chunk.choices[0].finish_reason] for chunk in stream]
        except openai.APIStatusError:
            return "refused"

    return telling.each(
        {
            "to the end": lambda: pieces("one two three"),
            "to the most tokens": lambda: pieces("one two three", max_tokens=2),
        }
    )


telling.main("openai", tell)
