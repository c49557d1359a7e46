"""Fetching a published file."""
import hashlib
import http.client
import os
import urllib.request


def fetch(name, mirrors, size, sha256, folder):
    """Bring the file `name` from the first mirror that gives it whole into `folder`.

    Raises:
        RuntimeError: no mirror gave `size` bytes with that checksum; the message says where to put the file by hand.
        OSError: it cannot be written.
    """
    said = []
    for mirror in mirrors:
        try:
            with urllib.request.urlopen(mirror + name, timeout=30) as answer:
                data = answer.read(size + 1)
        except (OSError, http.client.HTTPException) as error:
            said.append(f"{mirror}: {error}")
            continue
        if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
            said.append(f"{mirror}: not the published file of {size:,} bytes with SHA-256 {sha256}")
            continue
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, name)
        with open(path + ".tmp", "wb") as file:
            file.write(data)
        os.replace(path + ".tmp", path)
        return
    raise RuntimeError(f"{name} could not be downloaded ({'; '.join(said)}). Put it into {folder}")
