"""Looks at a run's status page in Chromium while it trains, loses a worker and ends, and at what is left of it then."""

import argparse
import contextlib
import json
import pathlib
import re
import subprocess
import sys
import time

from playwright.sync_api import Error, sync_playwright

STAGES = ["pretrain", "simulate", "adapt", "evaluate"]
SETS = ["clear", "night"]
PHASES = {"data", "forward", "backward", "reduce", "optimise"}
# A rank may be slower than the other on a busy host.
BUSY = {"trains", "straggler"}
PHONE = {"width": 390, "height": 844}
SMALLEST_PIXELS = 11
FAINTEST_RATIO = 4.5

# Size as it is seen and contrast of every text, against the backgrounds that lie under it.
TEXTS = """() => {
  const channels = (colour) => [...colour.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
  const light = (colour) => colour.slice(0, 3)
    .map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const over = (above, below) =>
    above.map((value, index) => index == 3 ? 1 : value * above[3] + below[index] * (1 - above[3]));
  const ground = (element) => {
    if (!element) return [255, 255, 255, 1];
    const own = channels(getComputedStyle(element).backgroundColor);
    return own[3] == 1 ? own : over(own, ground(element.parentElement));
  };
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (!text || !element.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    const drawn = element.ownerSVGElement;
    const below = ground(element);
    const above = over(channels(drawn ? style.fill : style.color), below);
    const [dark, bright] = [light(below), light(above)].sort((a, b) => a - b);
    const pixels = parseFloat(style.fontSize) * (drawn ? element.getScreenCTM().a : 1);
    texts.push({ text: text.slice(0, 40), pixels, ratio: (bright + 0.05) / (dark + 0.05) });
  }
  return texts;
}"""


class Looks:
    """Requirements in the order in which they are seen; the first that does not hold is the last."""

    def __init__(self, page):
        self.page = page
        self.count = 0

    def require(self, what, look, within=0):
        """Asks `look` for whether it holds and what it saw, until it holds or the seconds are over."""
        deadline = time.monotonic() + within
        while True:
            try:
                holds, seen = look()
            except Error as error:
                holds, seen = False, str(error).splitlines()[0]
            if holds:
                break
            if time.monotonic() > deadline:
                sys.exit(f"error: {what}: not so{f' after {within} s' if within else ''}, seen is {seen}")
            # Not a plain sleep, so that the browser's news are heard.
            self.page.wait_for_timeout(200)
        self.count += 1
        print(f"{what}: {seen}", flush=True)


def each(page, selector, told):
    """What an expression tells of `one` element, of all that a selector finds, between two changes of the page."""
    return page.evaluate(f"[...document.querySelectorAll({selector!r})].map((one) => {told})")


def inner(page, selector):
    """The texts of all elements, each on one line."""
    return [" ".join(text.split()) for text in each(page, selector, "one.innerText")]


def tile(page, start):
    """Value of the head's first tile whose name begins so, with that name."""
    tiles = each(page, ".tile", "[one.querySelector('.value').innerText, one.querySelector('.name').innerText]")
    return next(((value, name) for value, name in tiles if name.startswith(start)), ("", ""))


def steps(page):
    """Done steps by stage."""
    name, done = "one.querySelector('b').innerText", "parseInt(one.querySelector('.tell').innerText)"
    return dict(each(page, "#stages .step", f"[{name}, {done}]"))


def losses(page):
    """Titles of the loss curves and how many points their thickest lines have, in the order of the stages."""
    title, line = "one.querySelector('figcaption').firstChild.data", "one.querySelector('path.line')"
    found = each(page, "#curves .chart", f"[{title}, {line} ? {line}.getAttribute('d').split('L').length : 0]")
    return [(title, count) for title, count in found if title.startswith("L_") or title == "total loss"]


def ranks(page):
    """State, time of a step and number of phases of each rank."""
    row = "[one.cells[1].innerText, one.cells[4].innerText, one.querySelectorAll('svg.phases rect').length]"
    return each(page, "#ranks tr:has(td)", row)


def fits(page):
    """No part of a phone's page is beside its screen."""
    width = page.evaluate("Math.max(innerWidth, document.documentElement.scrollWidth)")
    return width <= PHONE["width"], f"{width} of {PHONE['width']} px"


def readable(page):
    """Texts are large and clear enough, in bright and in dark colours."""
    seen = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        texts = page.evaluate(TEXTS)
        bad = [text for text in texts if text["pixels"] < SMALLEST_PIXELS or text["ratio"] < FAINTEST_RATIO]
        if bad or not texts:
            kinds = {(round(text["pixels"], 1), round(text["ratio"], 1)): text["text"] for text in bad}
            told = [f"“{text}” {pixels} px {ratio}:1" for (pixels, ratio), text in sorted(kinds.items())]
            return False, f"in {scheme} colours {len(bad)} of {len(texts)} texts, such as {', '.join(told)}"
        smallest, faintest = (min(text[kind] for text in texts) for kind in ("pixels", "ratio"))
        seen.append(f"{scheme} from {smallest:.1f} px and {faintest:.1f}:1")
    return True, ", ".join(seen)


def loaded(page):
    """Example pictures are there and were drawn."""
    for picture in page.locator("#examples img").all():
        picture.scroll_into_view_if_needed()
    pictures = each(page, "#examples img", "[one.alt, one.complete && one.naturalWidth]")
    sets = {alt.split(":")[0] for alt, width in pictures if width}
    return sets == set(SETS) and all(width for _, width in pictures), pictures


def scores(page):
    """mIoU in percent by set and model."""
    row = "[one.parentElement.querySelector('h3 span'), one.firstElementChild, one.lastElementChild]"
    found = each(page, "#scores .compare .row", f"{row}.map((part) => part.innerText)")
    return {f"{name}/{model}": value for name, model, value in found}


def shown(page):
    """What a page says of a run that ended, without what depends on the time."""
    parts = ["h1", ".chip", "#stages", "#scores", "#ranks", "#curves", "#examples"]
    return {part: each(page, part, "one.outerHTML") for part in parts}


def keep(page, pictures, name):
    if pictures:
        page.screenshot(path=pictures / name, full_page=True)


@contextlib.contextmanager
def running(command, log):
    """A program that does not outlive this one; its name tells its log."""
    with open(log, "a") as file:
        program = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield program
    finally:
        program.kill()
        program.wait()


def said(program, log, pattern):
    """What the first group of a pattern matches in a program's log."""
    deadline = time.monotonic() + 60
    while not (match := re.search(pattern, log.read_text())):
        if program.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"error: {program.args[0]} does not tell {pattern}:\n{log.read_text()}")
        time.sleep(0.1)
    return match[1]


def live(looks, pages, url, pictures):
    wide, phone = pages
    answer = wide.goto(url)
    phone.goto(url)
    wide.evaluate("window.sameDocument = true")
    policy = answer.headers.get("content-security-policy", "no policy")
    strict = "default-src 'none'" in policy
    looks.require("only the page's own origin is allowed", lambda: (strict, policy.split(";")[0]))
    state = lambda: (inner(wide, ".chip.running") == ["running"], inner(wide, "#head .chip"))
    looks.require("the state is told", state)
    looks.require("the stages are listed", lambda: (list(steps(wide)) == STAGES, steps(wide)))
    looks.require("adapt is reached without a reload", lambda: (steps(wide).get("adapt", 0) > 20, steps(wide)), 120)
    before = {"title": wide.title(), "steps": steps(wide), "losses": losses(wide)}
    grown = lambda: (steps(wide)["adapt"] > before["steps"]["adapt"], f"{before['steps']} → {steps(wide)}")
    looks.require("the steps grow without a reload", grown, 20)
    told = lambda: (wide.title() != before["title"], f"{before['title']} → {wide.title()}")
    looks.require("so does the title", told, 20)
    longer = lambda: (losses(wide)[-1][1] > before["losses"][-1][1] > 0, f"{before['losses'][-1]} → {losses(wide)}")
    looks.require("and so do the loss curves", longer, 20)
    left = lambda: (re.match(r"\d", tile(wide, "left of adapt")[0]), tile(wide, "left of adapt"))
    looks.require("the time left is told", left, 20)
    saved = lambda: (re.search(r"ago|just now", tile(wide, "last checkpoint")[0]), tile(wide, "last checkpoint"))
    looks.require("the last checkpoint is told", saved, 60)

    def train():
        seen = ranks(wide)
        holds = [state in BUSY and re.match(r"\d", took) and parts > 2 for state, took, parts in seen]
        return len(seen) == 2 and all(holds), seen

    looks.require("both ranks are listed with their phases", train, 20)
    names = lambda: inner(wide, "#ranks .square")
    looks.require("the phases have names", lambda: (PHASES <= set(names()), names()))
    keep(wide, pictures, "wide-training.png")
    keep(phone, pictures, "phone-training.png")
    looks.require("nothing is beside a phone's screen", lambda: fits(phone))
    looks.require("texts are readable on a phone", lambda: readable(phone))
    looks.require("texts are readable on a wide screen", lambda: readable(wide))

    def refused():
        requests = [{}, {"Authorization": "Bearer wrong"}, {"Origin": "http://elsewhere.example"}]
        told = [phone.request.post(f"{url}api/stop", headers=headers).status for headers in requests]
        return told == [401, 401, 403], told

    looks.require("nobody stops the run without its token", refused)
    offered = lambda: (wide.locator("#stop").is_visible(), "the offer to stop it")
    looks.require("a running run can be stopped", offered)


def recovering(looks, wide, kill, replace):
    generation = lambda: int(tile(wide, "generation")[0])
    first = generation()
    kill()
    generations, events = (lambda: inner(wide, "#generations tr:has(td)")), (lambda: inner(wide, "#events li"))
    recovered = lambda: (generation() > first and len(generations()) > 1, generations())
    states = lambda: [state for state, _, _ in ranks(wide)]
    lost = lambda: (any("lost 1×" in state for state in states()) and events(), [*states(), *events()])
    looks.require("a killed worker's rank is told to be lost", lost, 60)
    replace()
    looks.require("a new generation is told with why", recovered, 60)
    both = lambda: ([state.split()[0] in BUSY for state in states()] == [True] * 2, states())
    looks.require("both ranks train again", both, 60)


def ended(looks, pages, url, pictures):
    wide, phone = pages
    state = lambda: (inner(wide, ".chip.finished") == ["finished"], inner(wide, "#head .chip"))
    looks.require("the end is told without a reload", state, 240)
    complete = lambda: (all(each(wide, "#stages progress", "one.value == one.max")), steps(wide))
    looks.require("all stages are complete", complete, 20)

    def same_scores():
        told = json.loads(phone.request.get(f"{url}api/status").text())["evaluations"]
        told = {f"{one['set']}/{one['model']}": f"{100 * one['mean_iou']:.2f}" for one in told}
        return len(scores(wide)) == 6 and scores(wide).items() <= told.items(), f"{scores(wide)}, told is {told}"

    looks.require("mIoU by domain is the status's", same_scores, 20)
    gone = lambda: (not wide.locator("#stop").is_visible(), "no offer to stop it")
    looks.require("what is over cannot be stopped", gone, 20)
    looks.require("example predictions are drawn", lambda: loaded(wide), 20)
    looks.require("on a phone, too", lambda: loaded(phone), 20)
    looks.require("nothing is beside a phone's screen at the end", lambda: fits(phone))
    looks.require("texts are readable on a phone at the end", lambda: readable(phone))
    for page in pages:
        page.evaluate("scrollTo(0, 0)")
    keep(phone, pictures, "phone-dark-finished.png")
    wide.emulate_media(color_scheme="light")
    keep(wide, pictures, "wide-finished.png")
    same = lambda: (wide.evaluate("window.sameDocument === true"), "the first document")
    looks.require("it was never loaded again", same)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--config", type=pathlib.Path, required=True)
    parser.add_argument("--chromium", required=True)
    parser.add_argument("--pictures", type=pathlib.Path)
    arguments = parser.parse_args()
    coordinator, worker = arguments.programs / "coordinator", arguments.programs / "worker"
    folder = arguments.config.parent
    run = folder / "runs/looked-at"
    here = ["--http", "127.0.0.1:0"]
    # Supervised, it stays with its page after the run's end.
    train = [coordinator, "--workers", "2", "--config", arguments.config, "--log", "json", *here]
    train += ["--supervised", "--resume", "--no-launch"]
    with sync_playwright() as playwright, contextlib.ExitStack() as stack:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        wide = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        phone = browser.new_context(viewport=PHONE, device_scale_factor=2, is_mobile=True, has_touch=True).new_page()
        pages = wide, phone
        looks, requests, errors = Looks(wide), [], []
        for page in pages:
            page.on("request", lambda request: requests.append(request.url))
            page.on("console", lambda line: errors.append(line.text) if line.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: errors.append(str(error)))

        log = folder / "coordinator.log"
        program = stack.enter_context(running(train, log))
        url = said(program, log, r'"page":"([^"]+)"')
        address = said(program, log, r'"address":"([^"]+)"')

        def join(slot):
            command = [worker, "join", "--coordinator", f"https://{address}", "--run", "looked-at", "--slot", str(slot)]
            command += ["--credentials", run / "credentials"]
            return stack.enter_context(running(command, folder / f"worker-{slot}.log"))

        workers = [join(slot) for slot in range(2)]
        live(looks, pages, url, arguments.pictures)
        recovering(looks, wide, workers[1].kill, lambda: join(1))
        ended(looks, pages, url, arguments.pictures)
        foreign = [request for request in requests if not request.startswith(url)]
        own = lambda: (requests and not foreign, foreign or f"{len(requests)} requests")
        looks.require("all is loaded from the page's own origin", own)
        calm = lambda: (not errors, errors or "no line on its console")
        looks.require("the browser has nothing to complain of", calm)

        last = shown(wide)
        program.terminate()
        visible = lambda: [part for part in ("#contact", "#left") if wide.locator(part).is_visible()]
        left = lambda: (visible() == ["#left"] and shown(wide) == last, visible())
        looks.require("a page is told that its coordinator leaves, and stays as it is", left, 30)
        keep(wide, arguments.pictures, "wide-left.png")
        log = folder / "view.log"
        view = stack.enter_context(running([coordinator, "view", run, *here], log))
        wide.goto(said(view, log, r"(http://\S+/)"))
        differing = lambda: [part for part, content in shown(wide).items() if content != last[part]]
        looks.require("`coordinator view` shows the same", lambda: (not differing(), differing() or "all parts"), 10)
        view.kill()
        looks.require("a page whose server died says so", lambda: (visible() == ["#contact"], visible()), 30)
        print(f"the status page holds in Chromium {browser.version}: {looks.count} requirements")
        browser.close()


if __name__ == "__main__":
    main()
