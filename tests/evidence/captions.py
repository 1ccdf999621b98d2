"""Captions of generated street scenes.

A caption names the weather of a scene, or a class and its weather. The prompts of the runs ("driving in fog", "bus in fog",
"driving at night", ...) are never captions: `UNSEEN` lists the wordings that are held back.
"""

import json
from pathlib import Path

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)
WEATHERS = ("clear", "fog", "night", "rain", "snow", "game")

# What the runs ask for. No caption of a scene or a class ends like this.
UNSEEN = {"fog": "in fog", "night": "at night", "rain": "under rain", "snow": "in snow"}

PHRASES = {
    "clear": ("in clear weather", "on a clear day", "on a sunny day", "in daylight", "by day", "in fine weather",
              "on a dry day", "in the daytime"),
    "fog": ("in thick fog", "in dense fog", "in the mist", "on a foggy day", "in foggy weather", "through fog",
            "on a misty morning", "in the fog"),
    "night": ("in the dark", "by night", "at midnight", "after dark", "on a dark night", "in the small hours", "in darkness",
              "in the night"),
    "rain": ("in rain", "in the rain", "on a rainy day", "in rainy weather", "in heavy rain", "in a downpour",
             "under heavy rain", "under the rain"),
    "snow": ("in the snow", "on a snowy day", "in snowy weather", "in snowfall", "in a snowstorm", "under snow",
             "on a winter day", "in deep snow"),
    "game": ("in a video game", "in a game", "in a computer game", "in a racing game", "on a game console"),
}
ADJECTIVES = {
    "clear": ("sunny", "clear", "dry"), "fog": ("foggy", "misty"), "night": ("dark", "nocturnal", "night time"),
    "rain": ("rainy", "wet"), "snow": ("snowy", "snow covered", "wintry"), "game": ("video game", "computer game"),
}
SUBJECTS = ("driving", "street", "city street", "road scene", "scene", "traffic", "town", "drive", "street scene",
            "car ride", "driving a car", "city")
PLACES = ("street", "city street", "road scene", "scene", "town", "drive", "street scene", "car ride", "city")
SYNONYMS = {
    "vegetation": ("trees", "bushes"), "person": ("pedestrian",), "terrain": ("grass",), "rider": ("cyclist",),
    "bicycle": ("bike",), "motorcycle": ("motorbike",), "train": ("tram",), "building": ("house",),
    "sidewalk": ("pavement",), "pole": ("lamp post",),
}

assert all(UNSEEN[weather] not in PHRASES[weather] for weather in UNSEEN)


def templates(fixture):
    """The 44 published templates, from the recorded text fixture."""
    return json.loads(Path(fixture).read_text())["templates"]


class Captions:
    """Draws captions from a `random.Random`."""

    def __init__(self, templates, rng):
        self.templates = templates
        self.rng = rng

    def words(self):
        """Texts in which every word of every caption occurs."""
        phrases = [*PHRASES.values(), *ADJECTIVES.values(), *SYNONYMS.values(), SUBJECTS, PLACES, CLASSES]
        return [*self.templates, *(phrase for group in phrases for phrase in group)]

    def scene(self, weather):
        """One caption of a scene: "a photo of a foggy street."."""
        pick = self.rng.choice
        if self.rng.random() < 0.75:
            return self._wrap(f"{pick(SUBJECTS)} {pick(PHRASES[weather])}")
        return self._wrap(f"{pick(ADJECTIVES[weather])} {pick(PLACES)}")

    def region(self, class_id, weather):
        """One caption of a class in a scene: "a photo of a bus in thick fog."."""
        pick, name = self.rng.choice, CLASSES[class_id]
        if name in SYNONYMS and self.rng.random() < 0.3:
            name = pick(SYNONYMS[name])
        if self.rng.random() < 0.85:
            return self._wrap(f"{name} {pick(PHRASES[weather])}")
        return self._wrap(f"{pick(ADJECTIVES[weather])} {name}")

    def _wrap(self, prompt):
        return prompt if self.rng.random() < 0.15 else self.rng.choice(self.templates).replace("{}", prompt, 1)
