"""What a long run grows by while its workers are killed: `run.py BIN_FOLDER [options]`.

BIN_FOLDER holds bench, coordinator, worker and streets. Trains the head of a small model on two workers, kills one of them with
SIGKILL every few seconds, and samples the coordinator's memory, descriptors and threads, and the bytes of its journal, logs
and event files. Prints what they were at the beginning and at the end, and the slope of a line through the samples after the
first fifth, which fills caches. Ends with 1 where the run does not go on, or a descriptor or a thread stays with each fault.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benches"))
import scaling


def size_of(folder):
    """Bytes of the files below; those that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            pass
    return total


def sample(process_id, run):
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process_id}/status").read_text().splitlines())
    journal = sum(size_of_file(run / f"journal.sqlite{ending}") for ending in ("", "-wal"))
    return {
        "memory, MiB": int(status["VmRSS"].split()[0]) / 1024,
        "descriptors": len(os.listdir(f"/proc/{process_id}/fd")),
        "threads": int(status["Threads"]),
        "journal, KiB": journal / 1024,
        "logs, KiB": size_of(run / "logs") / 1024,
        "event files, KiB": size_of(run / "tensorboard") / 1024,
        "checkpoints, MiB": size_of(run / "checkpoints") / 2**20,
    }


def size_of_file(path):
    return path.stat().st_size if path.exists() else 0


def slope(times, values):
    """Of the line of least squares, per hour."""
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((at - middle) ** 2 for at in times)
    return 3600 * sum((at - middle) * (value - mean) for at, value in zip(times, values)) / spread


def started(lines):
    """Process ids of the workers started last, by slot, and how many starts there were."""
    slots, starts = {}, 0
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("message") == "worker started":
            slots[event["slot"]], starts = event["process_id"], starts + 1
    return slots, starts


def endure(options, folder):
    """The samples with their times, and the number of kills."""
    values = scaling.values(options, "strong") | {
        "run.name": "endurance",
        "pretrain.steps": 100_000_000,
        "checkpoint.every": 50,
        "recovery.restarts": 1_000_000,
    }
    command = [str(options.programs / "coordinator"), "--workers", "2", "--http", "127.0.0.1:0", "--log", "json"]
    for key, value in values.items():
        command += ["--set", f"{key}={value}"]
    log = (folder / "coordinator.log").open("w")
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=log)
    run, samples, kills = folder / "runs/endurance", [], 0
    began = next_kill = time.monotonic()
    try:
        while (now := time.monotonic()) < began + 60 * options.minutes:
            if process.poll() is not None:
                raise SystemExit(f"the run ended:\n{(folder / 'coordinator.log').read_text()[-2000:]}")
            slots, starts = started((folder / "coordinator.log").read_text().splitlines())
            if now >= next_kill and starts == 2 + kills and len(slots) == 2:
                next_kill = now + options.every
                try:
                    os.kill(slots[kills % 2], signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    pass
            if run.exists():
                samples.append((now - began, sample(process.pid, run)))
            time.sleep(2)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
    return samples, kills


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", type=lambda text: Path(text).resolve())
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--every", type=float, default=10, help="seconds between kills")
    options = parser.parse_args()
    options.size, options.crop, options.batch, options.images = "small", 64, 2, 2
    options.pretrain_steps = options.adapt_steps = options.iterations = 1
    with tempfile.TemporaryDirectory() as name:
        scaling.prepare(options, Path(name))
        samples, kills = endure(options, Path(name))
    late = samples[len(samples) // 5 :]
    times = [at for at, _ in late]
    print(f"{times[-1] / 60:.0f} minutes, {kills} workers killed\n")
    print("| of the coordinator | after a fifth | at the end | growth per hour | per kill |\n|--|--|--|--|--|")
    of_kills = kills / (samples[-1][0] / 3600)
    leaks = []
    for name in late[0][1]:
        values = [taken[name] for _, taken in late]
        growth = slope(times, values)
        print(f"| {name} | {values[0]:.1f} | {values[-1]:.1f} | {growth:.1f} | {growth / of_kills:.3f} |")
        if name in ("descriptors", "threads") and growth / of_kills > 0.5:
            leaks.append(name)
    if leaks or not kills:
        raise SystemExit(f"one more with each kill: {', '.join(leaks)}" if leaks else "nothing was killed")


if __name__ == "__main__":
    main()
