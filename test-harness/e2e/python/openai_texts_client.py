"""Asks endpoints (HOST:PORT ...) through OpenAI's own client, of models for which a server's numbers can be worked out by hand, and
prints what it understood.
"""

import openai
import telling


def tell(endpoint):
    client = openai.OpenAI(base_url=f"http://{endpoint}/openai/v1", api_key="none", max_retries=0, timeout=60)

    def complete(prompt, **options):
        answer = client.completions.create(model="writer", prompt=prompt, **options)
        usage = answer.usage
        return {
            "choices": [[choice.text, choice.finish_reason] for choice in answer.choices],
            "usage": [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens],
        }

    def embed(texts, **options):
        return [found.embedding for found in client.embeddings.create(model="letters", input=texts, **options).data]

    def refused(call, *arguments, **named):
        try:
            return call(*arguments, **named)
        except openai.APIStatusError as error:
            return {"raised": type(error).__name__, "status": error.status_code, "code": error.code}

    return telling.each(
        {
            "models": lambda: [model.id for model in client.models.list()],
            # Without a format the client asks for base64, and decodes it.
            "embeddings": lambda: embed(["abba", "cab"]),
            "embeddings as numbers": lambda: embed("abba", encoding_format="float"),
            "completion": lambda: complete("one two three", max_tokens=2),
            "completions": lambda: complete(["one two three", "four"], max_tokens=2),
            "unknown model": lambda: refused(client.completions.create, model="nobody", prompt="one"),
        }
    )


telling.main("openai", tell)
