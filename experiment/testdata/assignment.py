"""Makes assignment.json: buckets computed without a line of the Go code.

    python3 experiment/testdata/assignment.py > experiment/testdata/assignment.json
"""

import hashlib
import hmac
import json
import struct
import sys

KEY = bytes(range(32))


def bucket(version, salt, kind, value):
    message = b""
    for field in (str(version), salt, kind, value):
        raw = field.encode()
        message += struct.pack("<Q", len(raw)) + raw
    digest = hmac.new(KEY, message, hashlib.sha256).digest()
    return struct.unpack(">Q", digest[:8])[0] % 1_000_000


def main():
    cases = []
    for salt in ("00000000000000000000000000000000", "0123456789abcdef0123456789abcdef", "namespace:quality"):
        for kind, values in {
            "header": ["", "a", "user-1", "user-2", "ab", "Grüße", "x" * 256],
            "api_key": ["user-1"],
            "image_sha256": [hashlib.sha256(b"image").hexdigest()],
            "request": ["018f5b0e-0000-7000-8000-000000000000"],
        }.items():
            for value in values:
                cases.append({"version": 1, "salt": salt, "kind": kind, "value": value, "bucket": bucket(1, salt, kind, value)})
    json.dump({"key": KEY.hex(), "cases": cases}, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
