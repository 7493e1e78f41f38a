"""Pictures that say everything a file can say, for the tests of what is kept."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypir_cli.images import Metadata, ifd, iptc
from tests.pictures import noise, srgb_profile

TEXTS = {315: "Jürgen Müller", 33432: "© 1978 Łódź", 270: "Straße in Köln, 東京"}
OWNER = "Owner Ångström"
MAKER = bytes(range(1, 200))
XMP = (
    b'<?xpacket begin="\xef\xbb\xbf"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="Archiv K\xc3\xb6ln"/></rdf:RDF></x:xmpmeta>'
)


def record(number: int, text: bytes) -> bytes:
    """One IPTC dataset."""
    return b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text


IPTC = record(120, b"Market square") + record(25, "Lübeck".encode()) + record(116, b"Town archive")


def full_exif(*, order: str = "<") -> bytes:
    """An Exif block with UTF-8 texts, a maker's note and a place; no thumbnail."""
    word = b"Canon" + b"\0"
    main = [ifd.raw(271, ifd.ASCII, word)]
    main += [ifd.raw(tag, ifd.ASCII, text.encode() + b"\0") for tag, text in TEXTS.items()]
    main.append(ifd.integers(18246, ifd.SHORT, [4], order=order))
    main.append(ifd.raw(40094, ifd.BYTE, "market\0".encode("utf-16-le")))
    details = [
        ifd.rational(0x829A, 0.004, order=order),
        ifd.raw(0xA430, ifd.ASCII, OWNER.encode() + b"\0"),
        ifd.raw(ifd.MAKER_NOTE, ifd.UNDEFINED, MAKER),
    ]
    place = [ifd.raw(1, ifd.ASCII, b"N\0")]
    return ifd.block(main, {ifd.EXIF_IFD: details, ifd.GPS_IFD: place}, order=order)


def full_metadata(**changes: Any) -> Metadata:
    """Everything at once."""
    values: dict[str, Any] = {
        "exif": full_exif(),
        "xmp": XMP,
        "photoshop": iptc.as_resources(IPTC),
        "comments": ("Kiste 12, Fach 3 – oben".encode(),),
        "texts": (("Copyright", "Town archive"), ("Lagerort", "Schrank Ü")),
        "icc": srgb_profile(),
        "dpi": (300.0, 300.0),
    }
    return Metadata(**{**values, **changes})


def maker_note(exif: bytes) -> tuple[int, bytes]:
    """Where the maker's note stands in a block, and its bytes."""
    file = io.BytesIO(exif)
    header = ifd.read_header(file)
    main, _ = ifd.read_directory(file, header, header.first)
    entry = ifd.sub_directory(file, header, main, ifd.EXIF_IFD)[ifd.MAKER_NOTE]
    return entry.offset, entry.data


def samples(depth: int, channels: int) -> NDArray[Any]:
    """Random pixels, (9, 14, channels)."""
    return noise(9, 14, channels, dtype=np.uint8 if depth == 8 else np.uint16)
