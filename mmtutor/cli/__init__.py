"""The command ``mmtutor``: train a system of the book on the world or on your own files, and use it.

``mmtutor --help`` says what there is. Whatever goes wrong for a reason that the user can mend ends
in one line that says what to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

# What a user can mend; anything else is a fault of the program.
MENDABLE = (OSError, ValueError, KeyError, FloatingPointError, ImportError)

# What the package says to who writes a program, in the words of the command line.
WORDS = {
    "; save the model again": "; train it again, into another folder",
    "; make and save the finder again": "; train it again, into another folder",
    "delete it or give another checkpoint": "delete it to start anew, or choose another --out",
}


class Group(click.Group):
    """Commands in the order in which one needs them; errors and warnings in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        shown = warnings.showwarning
        warnings.showwarning = lambda text, *_: click.echo(f"note: {text}", err=True)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if os.environ.get("MMTUTOR_TRACE"):
                raise
            if isinstance(error, BrokenPipeError):  # `| head` has read enough: click ends quietly
                raise
            raise click.ClickException(line_of(error)) from error
        finally:
            warnings.showwarning = shown


def line_of(error: BaseException) -> str:
    """What an error says, in one line; of a fault of the program, how to see where it is."""
    from mmtutor.kit.cache import FULL, DiskFull

    cause: BaseException | None = error
    while cause is not None:  # torch wraps the error of a disk in one that says nothing of it
        if isinstance(cause, DiskFull):
            return cause.strerror
        if isinstance(cause, OSError) and cause.errno in FULL:
            return f"the disk is full; what was saved last is whole ({cause.strerror})"
        cause = cause.__cause__ or cause.__context__
    if no_room(error):
        return "the memory is full: close other programs, or take smaller sizes"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, OSError) and text.startswith("[Errno") and error.filename is not None:
        text = f"{error.filename!r}: {error.strerror}"
    for theirs, ours in WORDS.items():
        text = text.replace(theirs, ours)
    text = next(filter(None, map(str.strip, text.splitlines())), type(error).__name__)
    if isinstance(error, MENDABLE):
        return text
    return (
        f"a fault of mmtutor, please report it ({type(error).__name__}: {text:.200}); "
        "with MMTUTOR_TRACE=1 before the command it says where"
    )


def no_room(error: BaseException) -> bool:
    """Whether an error says that the memory is full: torch has no kind of its own for a CPU's."""
    said = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(one in str(error).lower() for one in said)
    )


@click.group(
    cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="mmtutor")
def main() -> None:
    """Train the systems of the book, and use them on your own files.

    \b
    mmtutor list                                     what there is
    mmtutor train show_and_tell --out my/captioner   learn (about a minute on two cores)
    mmtutor evaluate my/captioner                    how good is it?
    mmtutor caption my/captioner photo.jpg           use it

    A run that was stopped goes on when the same command is given again. Everything works without a
    network and without a GPU, unless you ask for a set on the Hub; a GPU is used if there is one.
    """


# --- What there is --------------------------------------------------------------------------------


@main.command("list")
@click.option(
    "--costs",
    is_flag=True,
    help="Also the weights, their memory and the multiply-adds at the papers' sizes.",
)
def list_(costs: bool) -> None:
    """Systems, what they learn from, and the command that uses them."""
    from mmtutor.cli.tasks import TASKS

    for task in TASKS.values():
        click.echo(click.style(task.system, bold=True))
        click.echo(f"  {task.says}")
        own = ["a folder of your own"] if task.folders else []
        click.echo(f"  learns from  {', '.join(['world', *task.sets, *own])}")
        if task.holds:
            click.echo(f"  a folder     {task.holds}")
        click.echo(f"  scales       {', '.join(task.recipes)}")
        click.echo(f"  then         mmtutor {task.then} DIR …")
        if costs:
            from mmtutor.cli.costs import costs_of

            for label, said in costs_of(task.system).items():
                click.echo(f"  {label:12} {said}")
    if costs:
        click.echo(
            "\nMemory is that of training in float32: weights, gradients and AdamW's two moments. What the batch "
            "takes comes on top and depends on its size. Multiply-adds are those of matrix products and convolutions, "
            "for one sample; what a frozen network makes of a picture or a face is not counted."
        )


# --- Train ----------------------------------------------------------------------------------------


def systems() -> list[str]:
    """The names that ``train`` takes; kept here so that ``--help`` need not load torch."""
    return [
        *("fusion", "word2vec", "joint_embedding", "recipes", "show_and_tell"),
        *("show_attend_tell", "video_captioning", "vqa", "vlbert", "vilbert"),
        *("text_to_image", "cocktail_party", "soundnet", "sound_localization"),
        *("image_to_speech", "speech2face"),
    ]


def rate(ctx: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """A learning rate that can be meant."""
    if value is not None and not 0 < value <= 100:  # NaN too
        raise click.BadParameter("must be a number above 0 and at most 100")
    return value


@main.command()
@click.argument("system", type=click.Choice(systems()), metavar="SYSTEM")
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="The run's folder: new, or begun before.",
)
@click.option(
    "--data",
    default="world",
    show_default=True,
    help="'world', a set on the Hub, or a folder; see `mmtutor list`.",
)
@click.option("--path", default=None, help="A copy on disk of the set on the Hub.")
@click.option(
    "--scale",
    default="world",
    show_default=True,
    help="The sizes of the model: world, small or paper; see above.",
)
@click.option(
    "--size", type=click.IntRange(1), default=None, help="Learn from the first so many samples."
)
@click.option("--steps", type=click.IntRange(1), default=None, help="Steps of training.")
@click.option("--batch", type=click.IntRange(1), default=None, help="Samples in a batch.")
@click.option(
    "--accumulate",
    type=click.IntRange(1),
    default=1,
    help="Take a batch in so many parts and add up their gradients: as many samples a step, in less "
    "memory. What compares the samples of a batch compares those of a part.",
)
@click.option(
    "--halve",
    is_flag=True,
    help="Where the memory does not hold a batch, take it in halves, quarters … (--accumulate 2, 4, …).",
)
@click.option("--lr", type=float, callback=rate, default=None, help="Peak learning rate.")
@click.option(
    "--pixels",
    type=click.IntRange(32, 1024),
    default=None,
    help="Side of the pictures [world: 96, else 224].",
)
@click.option(
    "--encoder",
    default=None,
    help="The frozen image network [efficientnet-lite0, which comes with the book].",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of the model; may be given again.",
)
def train(
    system: str,
    folder: Path,
    data: str,
    path: str | None,
    scale: str,
    size: int | None,
    steps: int | None,
    batch: int | None,
    accumulate: int,
    halve: bool,
    lr: float | None,
    pixels: int | None,
    encoder: str | None,
    seed: int,
    pairs: tuple[str, ...],
) -> None:
    """Train SYSTEM, one of those that `mmtutor list` shows, and keep the model in a folder.

    Stop it whenever you like (Ctrl-C, or a power cut): the same command goes on where it was, to
    the same result. (word2vec, which takes a minute, begins anew.)

    Scales: world learns the book's drawn world in minutes on two cores. small is for real
    photographs and sounds, on one small GPU or with patience. paper has the sizes of the paper, and
    wants its data and a large GPU.
    """
    from dataclasses import asdict

    from mmtutor.cli import runs
    from mmtutor.cli.data import PIXELS, WORLD_PIXELS, Source
    from mmtutor.cli.tasks import TASKS
    from mmtutor.kit.vision import DEFAULT

    task = TASKS[system]
    if scale not in task.recipes:
        why = f": {task.lacks[scale]}" if scale in task.lacks else ""
        raise ValueError(
            f"--scale of {system} must be one of: {', '.join(task.recipes)}; got {scale!r}{why}"
        )
    own, usual = Source.of(data, task.sets, folders=task.folders, path=path), task.recipes[scale]
    asked = {"steps": steps, "batch": batch, "lr": lr, "pixels": pixels, "encoder": encoder}
    given = [f"--{n}" for n, x in asked.items() if x is not None and n not in task.takes]
    if given:
        raise ValueError(f"{system} does not take {', '.join(given)}; {task.instead}")
    run: dict[str, Any] = {
        "system": system,
        "data": asdict(own),
        "scale": scale,
        "size": size,
        "seed": seed,
        "set": runs.changes(pairs, task.config, task.fixed),
    }
    default = {
        "steps": usual.steps,
        "batch": usual.batch,
        "lr": usual.lr,
        "pixels": WORLD_PIXELS if own.kind == "world" else PIXELS,
        "encoder": DEFAULT,
    }
    run |= {name: asked[name] or default[name] for name in task.takes}
    if accumulate > 1 or halve:
        if not task.accumulates:
            raise ValueError(
                f"{system} takes a batch as a whole: leave out --accumulate and --halve"
            )
        if run["batch"] % accumulate:
            raise ValueError(
                f"--accumulate must divide --batch, and {accumulate} does not divide {run['batch']}"
            )
    if accumulate > 1:
        run["accumulate"] = accumulate
    task.check(in_parts(run))
    where = device_name()
    with runs.alone(folder):
        if halve and runs.begun(folder):  # as many parts as it took
            run |= {k: x for k, x in runs.read(folder).items() if k == "accumulate"}
        learn(task, folder, run, where, halve)


def learn(task: Any, folder: Path, run: dict[str, Any], where: str, halve: bool = False) -> None:
    """Train, or go on, and say what came of it. ``halve``: a batch that the memory does not hold is
    taken in twice as many parts."""
    from mmtutor.cli import runs

    begun = runs.begin(folder, run)
    if begun and (folder / "model.json").exists() and not runs.checkpoints(folder):
        click.echo(
            f"{folder} holds this run already, and it has ended; now: mmtutor {task.then} {folder} …"
        )
        return
    click.echo(
        f"{'Going on with' if begun else 'Training'} {task.system} on {run['data']['name']}; on {where}."
    )
    parts = run.get("accumulate", 1)
    full = False
    with stopped_kindly(folder), room_in_memory(run), nothing_begun(folder, begun):
        try:
            history = task.train(folder, in_parts(run))
        except (MemoryError, RuntimeError) as error:
            full = no_room(error) and halve and not runs.checkpoints(folder)
            if not full or run["batch"] % (2 * parts):
                raise
    if full:  # outside of the block above, which would keep what fills the memory
        click.echo(
            f"The memory does not hold {run['batch'] // parts} samples at once: a batch of "
            f"{run['batch']} is now taken in {2 * parts} parts."
        )
        free_memory()
        more = {**run, "accumulate": 2 * parts}
        task.check(in_parts(more))
        return learn(task, folder, more, where, halve)
    board = runs.keep_history(folder, history)
    for path in runs.checkpoints(folder):
        path.unlink()
    if history.steps:
        name = "loss" if "loss" in history.losses else next(iter(history.losses))
        loss, whose = history.losses[name], "" if name == "loss" else f" of the {name}"
        click.echo(
            f"The loss{whose} went from {loss[0]:.3f} to {loss[-1]:.3f} in "
            f"{run.get('steps', history.steps[-1] + 1)} steps."
        )
    click.echo(
        f"Kept in {folder}: the model, {runs.HISTORY}{' and TensorBoard files' if board else ''}."
    )
    click.echo(f"Now: mmtutor evaluate {folder}, or mmtutor {task.then} {folder} …")


def in_parts(run: dict[str, Any]) -> dict[str, Any]:
    """The run as the trainer sees it: its batch is what is held at once."""
    parts = run.get("accumulate", 1)
    return run if parts == 1 else {**run, "batch": run["batch"] // parts}


def free_memory() -> None:
    """Give back what a step that failed still held."""
    import gc

    import torch

    gc.collect()
    torch.cuda.empty_cache()  # does nothing where there is no GPU


def device_name() -> str:
    """Where it runs, in words."""
    import torch

    from mmtutor.kit.runtime import device

    where = device()
    return (
        torch.cuda.get_device_name(where) if where.type == "cuda" else f"the {where.type.upper()}"
    )


@contextlib.contextmanager
def stopped_kindly(folder: Path) -> Iterator[None]:
    """A run that is told to stop says how to go on. SIGTERM is what a machine sends that is about
    to be taken away."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        from mmtutor.cli import runs

        kept = bool(runs.checkpoints(folder))
        then = f"to go on; {folder} is kept" if kept else "to begin anew; nothing was learned yet"
        click.echo(f"\nStopped. Give the same command again {then}.", err=True)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def nothing_begun(folder: Path, before: bool) -> Iterator[None]:
    """A run that fails or is stopped before its first checkpoint leaves no folder, so that the
    command can be mended and given again."""
    from mmtutor.cli import runs

    try:
        yield
    except BaseException:
        if not before and not runs.begun(folder):
            for path in runs.left_over(folder):
                path.unlink()
            (folder / runs.RUN).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def room_in_memory(run: dict[str, Any]) -> Iterator[None]:
    """A machine without room says which setting to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not no_room(error):
            raise
        now = [f"--{name} (now {run[name]})" for name in ("batch", "pixels") if name in run]
        lower = " or ".join(now) or "--set batch or --set dim"
        if "lr" in run:  # what trains by the common loop
            lower += ", or give --halve"
        raise ValueError(
            f"the memory is full: lower {lower}; once a run has a checkpoint, that is another run, "
            "and wants another --out"
        ) from error


# --- Measure --------------------------------------------------------------------------------------


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--size", type=click.IntRange(1), default=None, help="Measure on the first so many samples."
)
def evaluate(folder: Path, size: int | None) -> None:
    """Measure a trained model on what was kept back from its training."""
    from mmtutor.cli import runs

    task, run = trained(folder)
    scores = {name: float(value) for name, value in task.evaluate(folder, run, size).items()}
    runs.write(folder / runs.SCORES, json.dumps(scores, indent=1, ensure_ascii=False) + "\n")
    width = max(map(len, scores))
    for name, value in scores.items():
        click.echo(
            f"{name:{width}}  {value:,.0f}"
            if value == int(value) and value > 1
            else f"{name:{width}}  {value:.3f}"
        )
    click.echo(f"(kept in {folder / runs.SCORES})")


def trained(folder: Path, *kinds: str) -> tuple[Any, dict[str, Any]]:
    """The task and the note of a run that has ended.

    Args:
        folder: where it lies.
        kinds: the commands that a task must be used by; none: any.
    """
    from mmtutor.cli import runs
    from mmtutor.cli.tasks import TASKS

    run = runs.read(folder)
    if run["system"] not in TASKS:
        raise ValueError(
            f"{str(folder)!r} holds a {run['system']}, which this version does not know"
        )
    task = TASKS[run["system"]]
    if kinds and task.then not in kinds:
        raise ValueError(
            f"{str(folder)!r} holds a {task.system}; use it with: mmtutor {task.then} {folder} …"
        )
    if not (folder / "model.json").exists():
        raise ValueError(
            f"the training in {str(folder)!r} has not ended; give its command again to go on"
        )
    runs.check(run, folder, task.takes)
    return task, run


# --- Use ------------------------------------------------------------------------------------------


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("pictures", nargs=-1, required=True)
@click.option(
    "--beam",
    type=click.IntRange(1, 50),
    default=5,
    show_default=True,
    help="Sentences that are kept at a time.",
)
def caption(folder: Path, pictures: tuple[str, ...], beam: int) -> None:
    """Say what is in PICTURES, a line each. Files that cannot be read are named at the end.

    A video captioner takes films: folders of pictures, GIFs, or arrays (T, H, W, 3) in files .npy.
    (With ffmpeg: ffmpeg -i film.mp4 -r 5 frames/%04d.png)
    """
    task, _ = trained(folder, "caption")
    bad = []
    for file, said, wrong in task.caption(folder, list(pictures), beam):
        if said is None:
            bad.append(f"{file}: {wrong}")
        else:
            click.echo(f"{file}: {said}")
    finish(bad, len(pictures))


def finish(bad: list[str], of: int, what: str = "could not be read") -> None:
    """Name the files with which something was wrong, and end with 1 if there were any."""
    for line in bad:
        click.echo(line, err=True)
    if bad:
        click.echo(f"{len(bad)} of {of} files {what}", err=True)
        sys.exit(1)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("picture")
@click.argument("question")
@click.option(
    "--top", type=click.IntRange(1), default=3, show_default=True, help="So many answers."
)
def ask(folder: Path, picture: str, question: str, top: int) -> None:
    """Answer QUESTION about PICTURE; the numbers are the model's probabilities."""
    task, _ = trained(folder, "ask")
    for answer, sure in task.ask(folder, picture, question, top):
        click.echo(f"{sure:5.1%}  {answer}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("picture")
@click.argument("sound")
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="So many names.")
def name(folder: Path, picture: str, sound: str, top: int) -> None:
    """Name the thing that PICTURE shows and SOUND lets hear; the numbers are probabilities."""
    from mmtutor.cli import files

    task, _ = trained(folder, "name")
    try:
        found = task.name(folder, picture, sound, top)
    except files.Unread as error:
        finish(error.lines, error.of)
        return
    for thing, sure in found:
        click.echo(f"{sure:5.1%}  {thing}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--text", default=None, help="Find pictures of this.")
@click.option("--picture", default=None, help="Find words for this picture.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="So many.")
def search(folder: Path, text: str | None, picture: str | None, top: int) -> None:
    """Find pictures of the collection for a --text, or its texts for a --picture. A model of recipes
    finds recipes of its collection for a --picture of a dish."""
    from mmtutor.finder import Finder

    if (text is None) == (picture is None):
        raise click.UsageError("give either --text or --picture")
    task, _ = trained(folder, "search")
    from mmtutor.cli.data import a_file

    if task.system == "recipes":
        from mmtutor.cli.cooking import told_of

        if picture is None:
            raise ValueError(
                f"{str(folder)!r} finds recipes for a picture of a dish: give --picture"
            )
        for hit in task.search(folder, picture, top):
            click.echo(told_of(hit))
        return

    found = Finder.load(folder)
    if picture is not None:
        a_file(picture)
    hits = found.pictures(text, top) if text is not None else found.texts(picture, top)
    for hit in hits:
        what = hit.files[0] if text is not None else hit.captions[0]
        beside = hit.captions[0] if text is not None and hit.captions else ""
        click.echo(f"{hit.score:.3f}  {what}" + (f"  ({beside})" if beside else ""))


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("formula", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="So many words.")
def words(folder: Path, formula: tuple[str, ...], top: int) -> None:
    """The words nearest to a word, or to a sum: king - man + woman."""
    from mmtutor.cli.sums import parse

    strange = [word for word in formula if word.startswith("--") and word.strip("-")]
    if strange:
        raise click.NoSuchOption(strange[0])
    task, _ = trained(folder, "words")
    vectors = task.load(folder)
    terms = parse(" ".join(formula))
    query = sum(sign * vectors[word] for sign, word in terms)
    if not float(query.norm()) > 1e-6:
        raise ValueError(f"nothing is left of the sum {' '.join(formula)!r}; add another word")
    most = len(vectors.vocabulary) - len({word for _, word in terms})
    for word, cosine in vectors.nearest(
        query, min(top, most), exclude=dict.fromkeys(w for _, w in terms)
    ):
        click.echo(f"{cosine:.3f}  {word}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("sentence")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The picture: a .png, say."
)
@click.option("--count", type=click.IntRange(1, 400), default=8, show_default=True, help="So many.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--zoom",
    type=click.IntRange(1, 16),
    default=4,
    show_default=True,
    help="Pixels of the file for one of the drawing.",
)
def draw(folder: Path, sentence: str, out: Path, count: int, seed: int, zoom: int) -> None:
    """Draw SENTENCE, as often as you like: drawings differ by chance, and SEED repeats them."""
    from mmtutor.cli import files

    task, _ = trained(folder, "draw")
    files.ending(out)
    drawn = task.draw(folder, sentence, count, seed)
    files.write_grid(out, drawn, zoom)
    side = drawn.shape[1]
    click.echo(f"{out}: {count} drawing{'s' * (count > 1)} of {side} × {side} pixels")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("mixture")
@click.argument("films", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("."),
    show_default=True,
    help="The folder that the voices are written to.",
)
@click.option(
    "--fps",
    type=click.FloatRange(1, 1000),
    default=None,
    help="Pictures a second of the films [their own, else 25].",
)
def separate(
    folder: Path, mixture: str, films: tuple[str, ...], out: Path, fps: float | None
) -> None:
    """Take the voices in MIXTURE apart, a sound file for each of the FILMS.

    A film shows one face that fills the picture, for as long as the sound: a folder of pictures, a
    GIF, a strip of square pictures side by side, or an array (T, H, W, 3) in a file .npy. (With
    ffmpeg: ffmpeg -i film.mp4 -r 25 frames/%04d.png)
    """
    from mmtutor.cli import files

    task, _ = trained(folder, "separate")
    if out.exists() and not out.is_dir():
        files.folder_for(out)
    try:
        voices, rate = task.separate(folder, mixture, list(films), fps)
    except files.Unread as error:
        finish(error.lines, error.of)
        return
    names: list[str] = []
    for place, own in enumerate(films or [f"voice{n + 1}" for n in range(len(voices))]):
        names.append(files.free(f"{Path(mixture).stem}-{Path(own).stem}", names, place + 1))
    for name, voice in zip(names, voices):
        path = files.folder_for(out) / f"{name}.wav"
        files.write_sound(path, voice, rate)
        click.echo(f"{path}: {len(voice) / rate:.2f} s")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("sounds", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="So many names.")
def hear(folder: Path, sounds: tuple[str, ...], top: int) -> None:
    """Name what is heard in SOUNDS, a line each. Files that cannot be read are named at the end.

    The numbers are probabilities if it has learned from names; if a network that sees has taught it,
    they say how alike its answer and pictures of that name are, from -1 to 1.
    """
    task, _ = trained(folder, "hear")
    bad = []
    for file, names, wrong in task.hear(folder, list(sounds), top):
        if names is None:
            bad.append(f"{file}: {wrong}")
        else:
            click.echo(f"{file}: {', '.join(f'{name} {sure:.2f}' for name, sure in names)}")
    finish(bad, len(sounds))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("picture")
@click.argument("sound")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    help="The picture with the heat: a .png, say.",
)
def locate(folder: Path, picture: str, sound: str, out: Path) -> None:
    """Look for the place in PICTURE that SOUND comes from.

    It always points somewhere, also where nothing of the kind is to be seen. Two lines say how much
    that is worth: how much of its attention the place has, and how many other sounds would have made
    it point there, too. It looks at the largest square in the middle of the picture. Trained on the
    world, it knows drawn scenes and the sounds of drawn things; in a photograph it guesses.
    """
    from mmtutor.cli import files
    from mmtutor.cli.locating import write_heat

    task, _ = trained(folder, "locate")
    files.ending(out)
    try:
        found = task.locate(folder, picture, sound)
    except files.Unread as error:
        finish(error.lines, error.of)
        return
    write_heat(out, found)
    (x, y), (wide, high), (same, others) = found.place, found.size, found.others
    click.echo(f"{out}: loudest {found.words}, at ({x}, {y}) of {wide} × {high} pixels")
    click.echo(
        f"there is {found.share:.1%} of its attention; of {found.cells} places each has "
        f"{1 / found.cells:.1%} if it does not know"
    )
    click.echo(f"of {others} other sounds, {same} would have made it point to the same place")
    files.say("it has learned from drawn scenes and made sounds; elsewhere it guesses")


@main.command("say")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("pictures", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The sound, a .wav; for several pictures a folder.",
)
def say_(folder: Path, pictures: tuple[str, ...], out: Path) -> None:
    """Say what is in PICTURES, as sound. Files that gave none are named at the end."""
    from mmtutor.cli import files

    task, _ = trained(folder, "say")
    many = len(pictures) > 1
    if many:
        files.folder_for(out)
    elif out.suffix.lower() != ".wav":
        raise ValueError(f"--out must end in .wav, got {out.name!r}")

    def write(path: Path, said: Any) -> str:
        wave, rate = said
        files.write_sound(path, wave, rate)
        return f"{len(wave) / rate:.2f} s"

    bad = each_written(task.say(folder, list(pictures)), out, ".wav" if many else "", write)
    finish(bad, len(pictures), "gave no speech")


def each_written(
    made: Iterable[tuple[str, Any, str]], out: Path, ending: str, write: Callable[[Path, Any], str]
) -> list[str]:
    """Write what was made of each file, and tell of it; returns a line for each that gave nothing.

    Args:
        made: of each file its name, what was made of it or None, and what was wrong.
        out: the file to write; with an ``ending`` a folder, in which each is called as its source.
        write: writes one and says what it is.
    """
    from mmtutor.cli import files

    bad, names = [], set()
    for place, (file, one, wrong) in enumerate(made):
        if one is None:
            bad.append(f"{file}: {wrong}")
            continue
        name = files.free(Path(file).stem, names, place + 1)
        names.add(name)
        path = out / f"{name}{ending}" if ending else out
        click.echo(f"{path}: {write(path, one)}")
    return bad


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("sounds", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The drawing: a .png, say; for several sounds a folder.",
)
@click.option(
    "--zoom",
    type=click.IntRange(1, 16),
    default=4,
    show_default=True,
    help="Pixels of the file for one of the drawing.",
)
def imagine(folder: Path, sounds: tuple[str, ...], out: Path, zoom: int) -> None:
    """Draw the face that the network imagines at a voice in SOUNDS. It is nobody's portrait.

    The network has learned from drawn faces and made voices, and draws the mean of those that go
    with such a voice. Of a person who speaks it knows nothing: use it to see what a network makes
    of a sound, never to say what somebody looks like. A second of speech is the least.
    """
    from mmtutor.cli import files
    from mmtutor.cli.imagining import NOBODY

    task, _ = trained(folder, "imagine")
    many = len(sounds) > 1
    if many:
        files.folder_for(out)
    else:
        files.ending(out)

    def write(path: Path, drawn: Any) -> str:
        files.write_grid(path, drawn[None].numpy(), zoom)
        return f"{drawn.shape[0]} × {drawn.shape[1]} pixels"

    bad = each_written(task.imagine(folder, list(sounds)), out, ".png" if many else "", write)
    if len(bad) < len(sounds):
        files.say(NOBODY)
    finish(bad, len(sounds), "gave no drawing")


@main.command("export")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
def export_(folder: Path, out: Path) -> None:
    """Put a trained model into one page, OUT, that opens from disk and runs it: no kernel, no network.

    For captioners that look (show_attend_tell), questions (vqa), words (word2vec), search
    (joint_embedding) and drawing (text_to_image).
    """
    from mmtutor.page import live

    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"the page must end in .html, got {out.name!r}")
    size = live.write(folder, out)
    click.echo(f"{out}: {size / 1e6:.1f} MB; open it in a browser, from disk")
