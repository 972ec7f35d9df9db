"""Real data in the world's columns: known sets from the Hugging Face Hub, and a reader's own
pictures, sounds, recipes, films, and pictures that somebody talks about.

A chapter that was read with ``world.load("scenes")`` runs on photographs after one change of name::

    from mmtutor import hub

    photos = hub.load("flickr8k", "train", size=1000, pixels=128)   # columns image, captions
    mine = hub.folder("my/holidays", pixels=128)       # the same columns, from a folder

The Hub is read as a stream, so that ``size=1000`` fetches little more than a thousand samples. What
comes is cut to the size that was asked for and kept in the package's cache, checked by the same
checksums as the world's own data: the second time needs no network. A copy that lies on disk
already is read with ``path=``.

Pictures become uint8 arrays of one size, sounds int16 waves of one sample rate; no
``datasets.Audio`` is involved (it needs torchcodec and FFmpeg, even to write).
"""

from mmtutor.hub.clips import films, spoken
from mmtutor.hub.decoded import FRAMES, PIXELS, SAMPLE_RATES, array, film, picture, sound
from mmtutor.hub.dishes import recipe1m, recipes
from mmtutor.hub.found import DAMAGED, UNCAPTIONED, FolderWarning
from mmtutor.hub.kept import Kind, Row
from mmtutor.hub.known import SOURCES, Source, corpus, info, load, names, stream
from mmtutor.hub.own import folder
from mmtutor.hub.questions import asked

__all__ = [
    "DAMAGED",
    "FRAMES",
    "PIXELS",
    "SAMPLE_RATES",
    "SOURCES",
    "UNCAPTIONED",
    "FolderWarning",
    "Kind",
    "Row",
    "Source",
    "array",
    "asked",
    "corpus",
    "film",
    "films",
    "folder",
    "info",
    "load",
    "names",
    "picture",
    "recipe1m",
    "recipes",
    "sound",
    "spoken",
    "stream",
]
