"""Small repairs inside an XMP packet, as text, so that everything else stays as it was written.

Source: XMP specification, parts 1 and 3 (Adobe); Google's and Adobe's descriptions of motion photos and gain maps.
"""

from __future__ import annotations

import hashlib
import re

_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|>)\s*)([1-8])""")
_SIZES = re.compile(
    rb"""((?:tiff:Image(?:Width|Length)|exif:PixelXDimension|exif:PixelYDimension)(?:\s*=\s*["']|>)\s*)(\d+)"""
)
_GUID = re.compile(rb"""(xmpNote:HasExtendedXMP(?:\s*=\s*["']|>)\s*)([0-9A-Fa-f]{32})""")
_RDF = re.compile(rb"<rdf:RDF[^>]*>(.*)</rdf:RDF>", re.DOTALL)
_STALE = {
    "the gain map for bright screens": rb"(?:hdrgm|HDRGainMap|apdi):\w+",
    "the motion video": rb"(?:GCamera:MotionPhoto\w*|GCamera:MicroVideo\w*)",
    "the depth map": rb"(?:GDepth:\w+|GImage:\w+)",
    "the list of further pictures in the file": rb"(?:Container:\w+|GContainer:\w+)",
    "the thumbnail": rb"(?:xmp:Thumbnails|xmpGImg:\w+)",
}
"""What XMP may say of things that stand beside the picture in its old file -> names of its properties."""


def orientation(xmp: bytes) -> int:
    """How the stored pixels are turned, 1 (upright) to 8; 1 where the packet does not say."""
    match = _ORIENTATION.search(xmp)
    return int(match[2]) if match else 1


def upright(xmp: bytes) -> bytes:
    """The packet with its orientation, if any, set to 1."""
    return _ORIENTATION.sub(rb"\g<1>1", xmp)


def with_size(xmp: bytes, *, width: int, height: int) -> bytes:
    """The packet with the pixel size it states, if any, brought up to date."""

    def new(match: re.Match[bytes]) -> bytes:
        down = b"Length" in match[1] or b"YDimension" in match[1]
        return match[1] + str(height if down else width).encode()

    return _SIZES.sub(new, xmp)


def without_stale(xmp: bytes) -> tuple[bytes, list[str]]:
    """The packet without what describes other parts of its old file, and the names of what was told of."""
    found = []
    for name, pattern in _STALE.items():
        names = rb"(?:" + pattern + rb")"
        shorter = re.sub(rb"""\s""" + names + rb"""\s*=\s*(?:"[^"]*"|'[^']*')""", b"", xmp)
        shorter = re.sub(rb"<(" + names + rb")(?:\s[^>]*)?/>", b"", shorter)
        shorter = re.sub(rb"<(" + names + rb")(?:\s[^>]*)?>.*?</\1>", b"", shorter, flags=re.DOTALL)
        if shorter != xmp:
            found.append(name)
            xmp = shorter
    return xmp, found


def extension_guid(xmp: bytes) -> bytes:
    """The name of the extension that a packet points to (32 hexadecimal digits), empty without one."""
    match = _GUID.search(xmp)
    return match[2] if match else b""


def renamed_extension(xmp: bytes, extension: bytes) -> bytes:
    """The packet pointing to an extension of these bytes."""
    digest = hashlib.md5(extension, usedforsecurity=False).hexdigest().upper().encode()
    return _GUID.sub(rb"\g<1>" + digest, xmp)


def merged(xmp: bytes, extension: bytes) -> bytes:
    """One packet of a main part and its extension, for formats that know no parts; the main part alone if they do not fit."""
    more = _RDF.search(extension)
    end = xmp.rfind(b"</rdf:RDF>")
    if not more or end < 0:
        return xmp
    plain = re.sub(rb"""\s*xmpNote:HasExtendedXMP\s*=\s*["'][0-9A-Fa-f]{32}["']""", b"", xmp[:end])
    return plain + more[1] + xmp[end:]


def split(xmp: bytes) -> tuple[bytes, bytes]:
    """A packet that is too long for one JPEG segment as a short main part and an extension with all of it."""
    main = (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="'
        + b"0" * 32
        + b'"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    return renamed_extension(main, xmp), xmp
