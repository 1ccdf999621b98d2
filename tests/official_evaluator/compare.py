"""Runs the official Cityscapes evaluator on predictions and compares its scores with a report's."""

import argparse
import contextlib
import io
import json
import math
import pathlib
import sys

import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as official

TOLERANCE = 1e-12


def pairs(labels: pathlib.Path, predictions: pathlib.Path):
    """Prediction and label files of the same images, in order."""
    truth = sorted(labels.rglob("*_gtFine_labelIds.png"))
    predicted = [
        predictions / path.name.replace("_gtFine_labelIds", "_leftImg8bit_labelIds")
        for path in truth
    ]
    missing = [str(path) for path in predicted if not path.is_file()]
    if missing or not truth:
        sys.exit(f"error: predictions are missing: {missing or labels}")
    return [str(path) for path in predicted], [str(path) for path in truth]


def evaluate(predicted, truth):
    """Mean IoU and IoU by class name, as the official evaluator prints them."""
    args = official.args
    args.evalInstLevelScore = False
    args.JSONOutput = False
    args.quiet = True
    with contextlib.redirect_stdout(io.StringIO()):
        results = official.evaluateImgLists(predicted, truth, args)
    return results["averageScoreClasses"], results["classScores"]


def reported(report: pathlib.Path, of_set: str, of_model: str):
    """The same two from the run's report, classes in the order of train ids."""
    sets = json.loads(report.read_text())["sets"]
    models = next(entry for entry in sets if entry["set"] == of_set)["models"]
    scores = next(entry for entry in models if entry["model"] == of_model)["scores"]
    names = [label.name for label in sorted(official.labels, key=lambda label: label.trainId)
             if 0 <= label.trainId < 19 and not label.ignoreInEval]
    return number(scores["mean_iou"]), dict(zip(names, map(number, scores["class_iou"]), strict=True))


def number(value):
    """A score of the report; it has none where no pixel belongs to the class."""
    return math.nan if value is None else float(value)


def same(ours, theirs):
    return (math.isnan(ours) and math.isnan(theirs)) or abs(ours - theirs) <= TOLERANCE


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=pathlib.Path, required=True)
    parser.add_argument("--set", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--labels", type=pathlib.Path, required=True)
    parser.add_argument("--predictions", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    predicted, truth = pairs(arguments.labels, arguments.predictions)
    mean, classes = evaluate(predicted, truth)
    our_mean, our_classes = reported(arguments.report, arguments.set, arguments.model)
    rows = [("mIoU", our_mean, mean)]
    rows += [(name, ours, classes[name]) for name, ours in our_classes.items()]
    wrong = 0
    print(f"{'class':<16} {'report':>20} {'official evaluator':>20}")
    for name, ours, theirs in rows:
        agree = same(ours, theirs)
        wrong += not agree
        print(f"{name:<16} {ours:>20.16f} {theirs:>20.16f}{'' if agree else '  DIFFERS'}")
    scored = sum(1 for value in our_classes.values() if value > 0)
    if scored < 3:
        sys.exit(f"error: only {scored} classes have a score above 0, which proves little")
    if wrong:
        sys.exit(f"error: {wrong} of {len(rows)} scores differ by more than {TOLERANCE}")
    print(f"{len(truth)} images: the report equals the official evaluator in all {len(rows)} scores")


if __name__ == "__main__":
    main()
