"""How long a killed worker costs: `recovery.py BIN_FOLDER [options]`, ours and torchrun's in turn.

BIN_FOLDER holds bench, coordinator, worker and streets. Both train the head of one model (`bench prepare`) on two processes of
one thread each, with a batch of the same size and a checkpoint after as many steps. Now and then one process is killed with
SIGKILL, the two in turn. Measured is the time from the kill to the end of the next step that had not been done before, and
how many steps were done again. Torch is plain PyTorch under DistributedDataParallel and torchrun, which looks after its
processes every 0.1 s, kills those that are left, starts all again, and these go on from the newest snapshot.
"""

import argparse
import contextlib
import json
import os
import queue
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benches"))
import scaling

# Seconds that a run may take to go on.
PATIENCE = 120


class Lines:
    """The lines of a process as JSON; what is none is left out."""

    def __init__(self, pipe):
        self.queue = queue.Queue()
        threading.Thread(target=self.read, args=(pipe,), daemon=True).start()

    def read(self, pipe):
        for line in pipe:
            try:
                self.queue.put(json.loads(line))
            except ValueError:
                pass

    def next(self):
        return self.queue.get(timeout=PATIENCE)


def ended(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_torchrun(options, folder):
    command = [options.python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", str(10 * options.kills), "--monitor-interval", "0.1"]
    command += [Path(__file__).parent / "elastic.py", folder / "case", folder / "snapshot.pt"]
    command += ["--every", options.every, "--batch", options.batch]
    command = [str(part) for part in command]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder)


def kill_one(lines, options, rank):
    """Seconds and repeated steps of the kill of one process, once both have done some steps."""
    processes, done = {}, 0
    first = lines.next()["step"]
    while len(processes) < 2 or done < first + options.between:
        line = lines.next()
        processes[line["rank"]], done = line["process"], max(done, line["step"])
    os.kill(processes[rank], signal.SIGKILL)
    at = time.time()
    resumed = None
    while True:
        line = lines.next()
        if line["process"] in processes.values():
            done = max(done, line["step"])
            continue
        resumed = line["step"] - 1 if resumed is None else resumed
        if line["step"] > done:
            return line["at"] - at, done - resumed


def torchrun(options, folder):
    """Seconds and repeated steps of each kill; None for one after which it did not go on, and was started anew."""
    process = start_torchrun(options, folder)
    lines, found = Lines(process.stdout), []
    try:
        for kill in range(options.kills):
            try:
                found.append(kill_one(lines, options, kill % 2))
            except queue.Empty:
                found.append(None)
                ended(process)
                process = start_torchrun(options, folder)
                lines = Lines(process.stdout)
    finally:
        ended(process)
    return found


def committed(journal):
    """Milliseconds and step of all that was committed, and the steps that generations started from."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT at, json FROM records ORDER BY seq").fetchall()
    except sqlite3.OperationalError:
        rows = []  # not written yet
    records = [(at, json.loads(text)) for at, text in rows]
    commits = [(at, one["state"]["cursor"]["step"]) for at, one in records if one["record"] == "committed"]
    formed = [(at, one["formation"]["state"]) for at, one in records if one["record"] == "generation-formed"]
    return commits, [(at, state["cursor"]["step"] if state else 0) for at, state in formed]


def ours(options, folder):
    """Seconds and repeated steps of each kill."""
    values = scaling.values(options, "strong") | {
        "run.name": "recovery",
        "pretrain.steps": 1_000_000,
        "checkpoint.every": options.every,
        "recovery.restarts": 2 * options.kills,
    }
    command = [str(options.programs / "coordinator"), "--workers", "2", "--http", "off", "--log", "json"]
    for key, value in values.items():
        command += ["--set", f"{key}={value}"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    found = []
    try:
        lines, slots = Lines(process.stderr), {}
        journal = folder / "runs/recovery/journal.sqlite"

        def note(line):
            if line.get("message") == "worker started":
                slots[line["slot"]] = line["process_id"]

        def wait_for(wanted):
            deadline = time.time() + PATIENCE
            while time.time() < deadline:
                while not lines.queue.empty():
                    note(lines.next())
                if journal.exists() and (answer := wanted(*committed(journal))) is not None:
                    return answer
                time.sleep(0.02)
            raise SystemExit("our run does not go on")

        start = 0
        for kill in range(options.kills):
            wait_for(lambda commits, _: commits if commits and commits[-1][1] >= start + options.between else None)
            os.kill(slots[kill % 2], signal.SIGKILL)
            at = 1000 * time.time()

            def recovered(commits, formed):
                begun = [(when, step) for when, step in formed if when > at]
                new = [(when, step) for when, step in commits if begun and when > begun[0][0]]
                before = max(step for when, step in commits if not begun or when <= begun[0][0])
                new = [(when, step) for when, step in new if step > before]
                return (new[0], before, begun[0][1]) if new else None

            (when, start), before, begun = wait_for(recovered)
            found.append(((when - at) / 1000, max(0, before - begun)))
    finally:
        ended(process)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", type=lambda text: Path(text).resolve())
    parser.add_argument("--size", choices=["small", "rn50"], default="small")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4, help="images of a step, even")
    parser.add_argument("--every", type=int, default=20, help="steps between checkpoints")
    parser.add_argument("--between", type=int, default=30, help="steps between a recovery and the next kill")
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--python", default=sys.executable, help="an interpreter with torch and safetensors")
    options = parser.parse_args()
    options.pretrain_steps = options.adapt_steps = options.iterations = 1
    options.images = 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scaling.prepare(options, folder)
        sides = {"ours": ours(options, folder), "torchrun": torchrun(options, folder)}
    print(f"{options.size}, crop {options.crop}, batch {options.batch}, 2 processes, checkpoint every {options.every} steps")
    print(f"\n| | kills | without end within {PATIENCE} s | median s | longest s | steps done again, median | most |")
    print("|--|--|--|--|--|--|--|")
    for side, found in sides.items():
        seconds, steps = zip(*[one for one in found if one])
        row = f"{len(found)} | {found.count(None)} | {statistics.median(seconds):.2f} | {max(seconds):.2f}"
        print(f"| {side} | {row} | {statistics.median(steps):g} | {max(steps)} |")


if __name__ == "__main__":
    main()
