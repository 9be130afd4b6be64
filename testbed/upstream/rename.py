"""Copies a docker archive of one image under another name: rename.py FROM TO NAME."""

import io
import json
import sys
import tarfile

source, target, name = sys.argv[1:]
with tarfile.open(source) as read, tarfile.open(target, "w") as write:
    for member in read:
        content = read.extractfile(member) if member.isfile() else None
        if member.name == "manifest.json":
            [manifest] = json.load(content)
            text = json.dumps([manifest | {"RepoTags": [name]}]).encode()
            member.size, content = len(text), io.BytesIO(text)
        if member.name != "repositories":
            write.addfile(member, content)
