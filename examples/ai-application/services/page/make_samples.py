"""Draws the pictures in samples/: two to be styled, three to take a style from. Run it only to change them.

    python make_samples.py
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SAMPLES = Path(__file__).parent / "samples"
# Drawn twice as large and made smaller, which smooths the edges.
WIDTH, HEIGHT = 1440, 1080


def main():
    SAMPLES.mkdir(exist_ok=True)
    for name, picture, size in [
        ("harbour", harbour(), (720, 540)),
        ("mountains", mountains(), (720, 540)),
        ("style-waves", waves(), (256, 256)),
        ("style-strokes", strokes(), (256, 256)),
        ("style-mosaic", mosaic(), (256, 256)),
    ]:
        picture.resize(size, Image.Resampling.LANCZOS).save(SAMPLES / f"{name}.jpg", quality=82, optimize=True)


def gradient(stops, height=HEIGHT, width=WIDTH):
    """Colours from top to bottom, with a little grain."""
    at = np.linspace(0, 1, height)
    places = np.linspace(0, 1, len(stops))
    rows = np.stack([np.interp(at, places, [stop[c] for stop in stops]) for c in range(3)], axis=-1)
    grain = np.random.default_rng(1).normal(0, 2.5, (height, width, 1))
    return Image.fromarray(np.clip(rows[:, None] + grain, 0, 255).astype(np.uint8))


def ridge(random, base, height, detail=9):
    """Points of a mountains' outline: finer and finer zigzags added up."""
    x = np.linspace(0, 1, 700)
    y = sum(np.interp(x, np.linspace(0, 1, 2**i + 2), random.uniform(-1, 1, 2**i + 2)) / 1.75**i for i in range(1, detail))
    return list(zip(x * WIDTH, base - y * height))


def below(outline):
    return [(0, HEIGHT), *outline, (WIDTH, HEIGHT)]


def mountains():
    random = np.random.default_rng(11)
    picture = gradient([(58, 92, 160), (143, 178, 216), (250, 214, 178), (252, 232, 205)])
    for radius, blur, colour in [(170, 70, (255, 236, 200)), (100, 4, (255, 240, 205))]:
        glow = Image.new("L", picture.size)
        ImageDraw.Draw(glow).ellipse((1000 - radius, 390 - radius, 1000 + radius, 390 + radius), fill=235)
        picture.paste(colour, mask=glow.filter(ImageFilter.GaussianBlur(blur)))
    for base, height, top, foot in [
        (560, 190, (124, 142, 180), (176, 188, 210)),
        (690, 170, (82, 108, 140), (132, 156, 170)),
        (820, 120, (46, 82, 92), (90, 126, 116)),
    ]:
        mask = Image.new("L", picture.size)
        outline = ridge(random, base, height)
        ImageDraw.Draw(mask).polygon(below(outline), fill=255)
        picture.paste(gradient([top, foot]), mask=mask)
        if base == 560:
            draw = ImageDraw.Draw(picture)
            for x, y in outline:
                if y < base - 20:
                    draw.line((x, y, x + random.uniform(-16, 16), y + (base - y) * random.uniform(0.1, 0.55)), fill=(240, 244, 250), width=4)
    draw = ImageDraw.Draw(picture)
    for _ in range(170):
        x, y = random.uniform(-20, WIDTH), random.uniform(840, 1060)
        size = 30 + (y - 800) * 0.34
        shade = int(random.uniform(-12, 16))
        for i in range(4):
            width, top = size * (0.20 + 0.1 * i), y - size * (1.6 - 0.38 * i)
            draw.polygon([(x, top - size * 0.42), (x - width, top + size * 0.32), (x + width, top + size * 0.32)], fill=(24 + shade, 62 + shade + i * 5, 52 + shade))
    return picture


def harbour():
    random = np.random.default_rng(4)
    picture = gradient([(38, 50, 102), (130, 84, 140), (240, 134, 104), (255, 208, 130), (74, 92, 138), (34, 58, 98), (22, 40, 74)])
    draw = ImageDraw.Draw(picture)
    draw.ellipse((610, 410, 790, 590), fill=(255, 238, 190))
    horizon = 620
    water = gradient([(236, 150, 112), (112, 96, 140), (36, 58, 104), (20, 36, 70)], HEIGHT - horizon)
    picture.paste(water, (0, horizon))
    for _ in range(900):
        y = random.uniform(horizon, HEIGHT)
        near = (y - horizon) / (HEIGHT - horizon)
        middle = random.random() < 0.5
        x = random.normal(700, 60 + 150 * near) if middle else random.uniform(0, WIDTH)
        colour = (255, 214, 150) if middle else (96 + int(50 * random.random()), 100, 150)
        draw.line((x, y, x + 18 + 90 * near * random.random(), y), fill=colour, width=1 + int(5 * near))
    x = 0
    while x < WIDTH:
        width, height = random.uniform(50, 105), random.uniform(60, 215)
        if not 560 < x < 800:
            colour = tuple(int(c + random.uniform(-14, 14)) for c in random.choice([(176, 92, 74), (205, 150, 96), (96, 92, 128), (140, 74, 92)]))
            draw.rectangle((x, horizon - height, x + width, horizon), fill=colour)
            draw.polygon([(x - 6, horizon - height), (x + width / 2, horizon - height - 44), (x + width + 6, horizon - height)], fill=(82, 44, 56))
            for wx in np.arange(x + 12, x + width - 16, 24):
                for wy in np.arange(horizon - height + 16, horizon - 24, 34):
                    draw.rectangle((wx, wy, wx + 11, wy + 17), fill=(255, 222, 140) if random.random() < 0.55 else (60, 48, 74))
        x += width + 3
    for x, y, size, hull in [(300, 830, 1.25, (190, 52, 48)), (1040, 770, 0.9, (40, 112, 128)), (800, 950, 1.7, (232, 226, 214))]:
        draw.polygon([(x - 130 * size, y), (x + 130 * size, y), (x + 96 * size, y + 46 * size), (x - 100 * size, y + 46 * size)], fill=hull)
        draw.line((x, y, x, y - 230 * size), fill=(70, 50, 44), width=int(7 * size))
        draw.polygon([(x + 6 * size, y - 222 * size), (x + 6 * size, y - 20 * size), (x + 116 * size, y - 20 * size)], fill=(250, 240, 220))
        draw.polygon([(x - 6 * size, y - 190 * size), (x - 6 * size, y - 20 * size), (x - 84 * size, y - 20 * size)], fill=(244, 206, 160))
        for i in range(12):
            ry = y + (52 + i * 10) * size
            draw.line((x - (96 - i * 6) * size, ry, x + (80 - i * 5) * size, ry), fill=tuple(int(c * 0.55 + 24) for c in hull), width=int(4 * size))
    return picture


def waves():
    """Rows of round waves, as on a woodcut."""
    picture = Image.new("RGB", (768, 768), (232, 214, 176))
    draw = ImageDraw.Draw(picture)
    blues = [(20, 48, 92), (236, 232, 214), (44, 92, 140), (236, 232, 214), (110, 156, 178), (232, 222, 196)]
    for row in range(18):
        for column in range(-1, 9):
            x, y = column * 108 + (row % 2) * 54, 40 + row * 46
            for i, colour in enumerate(blues):
                radius = 66 - i * 11
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return picture


def strokes():
    """Short strokes that flow round two eddies, in blues and yellows."""
    random = np.random.default_rng(8)
    picture = Image.new("RGB", (768, 768), (24, 40, 96))
    draw = ImageDraw.Draw(picture)
    for _ in range(11000):
        x, y = random.uniform(0, 768, 2)
        to = [(x - 250, y - 260), (x - 560, y - 520)]
        near = min(to, key=lambda d: np.hypot(*d))
        distance = np.hypot(*near) + 1
        angle = np.arctan2(near[1], near[0]) + np.pi / 2 + 0.25 * np.sin(distance / 40)
        length = random.uniform(12, 34)
        dx, dy = np.cos(angle) * length, np.sin(angle) * length
        ring = 0.5 + 0.5 * np.cos(distance / 21)
        light, dark = ((250, 214, 96), (222, 142, 40)) if distance < 110 else ((126, 178, 214), (22, 54, 124))
        colour = tuple(int(d + (l - d) * ring + random.uniform(-16, 16)) for l, d in zip(light, dark))
        draw.line((x, y, x + dx, y + dy), fill=colour, width=int(random.uniform(4, 9)))
    return picture


def mosaic():
    """Tiles of many colours with dark joints: each pixel belongs to the nearest of some points."""
    random = np.random.default_rng(21)
    points = np.array([(x + random.uniform(-16, 16), y + random.uniform(-16, 16)) for x in range(0, 430, 38) for y in range(0, 430, 38)])
    yy, xx = np.mgrid[0:384, 0:384]
    distances = np.hypot(xx[..., None] - points[:, 0], yy[..., None] - points[:, 1])
    nearest = np.partition(distances, 1, axis=-1)
    palette = np.array([(212, 74, 52), (238, 170, 58), (36, 122, 132), (246, 228, 190), (120, 46, 92), (58, 152, 98), (28, 66, 120)])
    colours = palette[random.integers(0, len(palette), len(points))] + random.integers(-14, 14, (len(points), 1))
    picture = colours[distances.argmin(axis=-1)].astype(float)
    picture[nearest[..., 1] - nearest[..., 0] < 3.2] = (34, 28, 32)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
