"""Verifies proofs of a transparency log, from nothing but the files and the public keys one trusts.

    verify_proof.py FILE --key VKEY [--key VKEY ...] [--old CHECKPOINT_FILE]

FILE: inclusion proofs (C2SP tlog-proof, one right after the other), or a consistency proof (the body of a
C2SP tlog-witness add-checkpoint request; needs --old), or one bare checkpoint (C2SP tlog-checkpoint).
VKEY: `<name>+<8 hex digits key id>+<base64>`, or the path of a file with such a key on each line.
Exit status: 0 valid, 1 invalid, 2 wrong arguments (also a file that cannot be read, or a bad VKEY).
"""
import argparse
import base64
import hashlib
import re
import sys
from typing import NamedTuple
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_HASH_LINES = 63
MAX_SIGNATURES = 100  # signed-note, Format, asks for a limit, of 16 or more.
PROOF_HEADER = "c2sp.org/tlog-proof@v1\n"
KEY_NAME = r"[^\s+\ud800-\udfff]+"  # No Unicode spaces, no plus, nothing that UTF-8 cannot encode.
VKEY = re.compile(rf"({KEY_NAME})\+([0-9a-fA-F]{{8}})\+(\S+)")
SIGNATURE_LINE = re.compile(rf"\u2014 ({KEY_NAME}) (\S+)")
Keys = dict[tuple[str, bytes], bytes]  # (key name, key id) -> 32-byte public key


class Invalid(Exception):
    """What was given does not verify; the message says why, in one line."""


class Checkpoint(NamedTuple):
    """The three mandatory lines of a checkpoint."""
    origin: str
    size: int
    root: bytes


def require(condition: bool, why: str) -> None:
    if not condition:
        raise Invalid(why)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def parse_text(data: bytes) -> str:
    """signed-note, Format: UTF-8 of whole lines, without ASCII control characters other than newline."""
    require(len(data) <= MAX_FILE_BYTES, "file is larger than 256 MB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("text is not UTF-8") from None
    require(re.search(r"[\x00-\x09\x0b-\x1f]", text) is None, "text contains a control character")
    require(text.endswith("\n"), "text does not end with a newline")
    return text


def parse_base64(text: str) -> bytes:
    """RFC 4648, Section 4, in its only canonical form (3.5): padded, unused bits zero, nothing else."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Invalid("malformed base64") from None
    require(base64.b64encode(data).decode() == text, "base64 is not canonical")
    return data


def parse_hashes(lines: list[str]) -> list[bytes]:
    """tlog-proof, Format, and tlog-witness, add-checkpoint: one SHA-256 hash per line, at most 63."""
    require(len(lines) <= MAX_HASH_LINES, "more than 63 hash lines")
    hashes = [parse_base64(line) for line in lines]
    require(all(len(each) == 32 for each in hashes), "a hash is not 32 bytes long")
    return hashes


def parse_decimal(text: str) -> int:
    """tlog-checkpoint, Note text: ASCII decimal without leading zeroes; here of at most 64 bits."""
    require(re.fullmatch(r"0|[1-9][0-9]{0,19}", text) is not None, "malformed decimal number")
    require(int(text) < 2**64, "number does not fit in 64 bits")
    return int(text)


def parse_keys(vkeys: list[str]) -> Keys:
    """signed-note, Ed25519 signatures: key id = SHA-256(key name || 0x0A || 0x01 || public key)[:4]."""
    keys: Keys = {}
    for vkey in vkeys:
        match = VKEY.fullmatch(vkey)
        if match is None:
            raise Invalid("malformed verifier key")
        name, key_id, typed_key = match[1], bytes.fromhex(match[2]), parse_base64(match[3])
        require(len(typed_key) == 33 and typed_key[0] == 0x01, "verifier key is not an Ed25519 key")
        require(key_id == sha256(name.encode() + b"\n" + typed_key)[:4], "verifier key has a wrong key id")
        public_key = keys.setdefault((name, key_id), typed_key[1:])
        require(public_key == typed_key[1:], "two verifier keys share a name and a key id")
    require(len(keys) > 0, "no verifier key")
    return keys


def verify_checkpoint(note: str, keys: Keys) -> Checkpoint:
    """signed-note, Format and Signatures; tlog-checkpoint, Note text. A key named as the origin must sign."""
    body, _, signatures = note.rpartition("\n\n")  # At the last empty line.
    lines = body.split("\n")
    require(len(lines) >= 3 and "" not in lines, "checkpoint is not three or more non-empty lines")
    require(signatures.endswith("\n"), "checkpoint does not end with a signature line")
    require(signatures.count("\n") <= MAX_SIGNATURES, "too many signatures")
    checkpoint = Checkpoint(lines[0], parse_decimal(lines[1]), parse_hashes([lines[2]])[0])
    signed_by_origin = False
    for line in signatures[:-1].split("\n"):
        match = SIGNATURE_LINE.fullmatch(line)
        if match is None:
            raise Invalid("malformed signature line")
        name, signature = match[1], parse_base64(match[2])
        require(len(signature) > 4, "signature is too short")
        public_key = keys.get((name, signature[:4]))
        if public_key is None:
            continue  # Signatures of unknown keys, such as cosignatures of witnesses, are ignored.
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature[4:], (body + "\n").encode())
        except InvalidSignature:
            raise Invalid("signature of a known key does not verify") from None
        signed_by_origin = signed_by_origin or name == checkpoint.origin
    require(signed_by_origin, "checkpoint is not signed by a known key named as its origin")
    return checkpoint


def climb(fn: int, sn: int, start: bytes, path: list[bytes]) -> tuple[bytes, bytes]:
    """RFC 9162, the loop of 2.1.3.2 (its step 4; r is sr here) and of 2.1.4.2 (step 6), up to sn = 0."""
    fr = sr = start
    for node in path:
        require(sn != 0, "proof has too many hashes")
        if fn & 1 or fn == sn:
            fr, sr = sha256(b"\x01" + node + fr), sha256(b"\x01" + node + sr)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = sha256(b"\x01" + sr + node)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0, "proof has too few hashes")
    return fr, sr


def verify_inclusion(entry: bytes, index: int, path: list[bytes], tree: Checkpoint) -> None:
    """RFC 9162, 2.1.3.2."""
    require(index < tree.size, "index is not below the tree size")
    _, root = climb(index, tree.size - 1, sha256(b"\x00" + entry), path)
    require(root == tree.root, "proof does not lead to the root hash")


def verify_consistency(old: Checkpoint, new: Checkpoint, path: list[bytes]) -> None:
    """RFC 9162, 2.1.4.2; before it the two cases without a proof of tlog-witness, add-checkpoint."""
    require(old.size <= new.size, "old size is larger than the new size")
    require(old.size != 0 or old.root == sha256(b""), "old root hash is not that of the empty tree")
    require(old.size != new.size or old.root == new.root, "same size but different root hashes")
    if old.size in (0, new.size):
        require(len(path) == 0, "proof has too many hashes")
        return
    require(len(path) > 0, "proof has too few hashes")
    if old.size & (old.size - 1) == 0:  # An exact power of 2.
        path = [old.root] + path
    fn, sn = old.size - 1, new.size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_root, new_root = climb(fn, sn, path[0], path[1:])
    require(old_root == old.root, "proof does not lead to the old root hash")
    require(new_root == new.root, "proof does not lead to the new root hash")


def verify_proof(proof: str, keys: Keys) -> tuple[int, bytes, Checkpoint]:
    """tlog-proof, Format, after the first line. The extra data is the record R; the entry is SHA-256(R)."""
    head, _, note = proof.partition("\n\n")
    lines = head.split("\n")
    require(lines[0].startswith("extra "), "proof has no extra line")
    require(len(lines) > 1 and lines[1].startswith("index "), "proof has no index line")
    record = parse_base64(lines[0].removeprefix("extra "))
    index = parse_decimal(lines[1].removeprefix("index "))
    path = parse_hashes(lines[2:])
    checkpoint = verify_checkpoint(note, keys)
    verify_inclusion(sha256(record), index, path, checkpoint)
    require(len(record) >= 40, "record is too short")
    require(int.from_bytes(record[32:40], "big") == index + 1, "position in the record is not index + 1")
    return index, record, checkpoint


def verify_proofs(text: str, keys: Keys) -> str:
    """The proofs of a file: of one log that shows one history, each record chained to the one before it."""
    records: dict[int, bytes] = {}
    roots: dict[int, bytes] = {}
    origin = None
    for proof in re.split("^" + re.escape(PROOF_HEADER), text, flags=re.MULTILINE)[1:]:
        index, record, checkpoint = verify_proof(proof, keys)
        require(origin in (None, checkpoint.origin), "proofs are of different origins")
        origin = checkpoint.origin
        require(records.setdefault(index, record) == record, "two records at one index")
        root = roots.setdefault(checkpoint.size, checkpoint.root)
        require(root == checkpoint.root, "two root hashes at one size")
    for index, record in records.items():
        if index - 1 in records:  # The record before is at hand only when the file proves it too.
            require(record[:32] == sha256(records[index - 1]), "record is not chained to the one before it")
    return f"ok {len(records)} record(s) in {origin} at size {', '.join(map(str, sorted(roots)))}"


def verify_text(text: bytes, keys: list[str], old: bytes | None) -> str:
    """Verifies a file of any of the three forms, by its first line, and returns the line to print."""
    known_keys, content = parse_keys(keys), parse_text(text)
    if content.startswith("old "):  # tlog-witness, add-checkpoint.
        if old is None:
            raise Invalid("a consistency proof needs the old checkpoint")
        head, _, note = content.removeprefix("old ").partition("\n\n")
        old_size, *hash_lines = head.split("\n")
        old_tree = verify_checkpoint(parse_text(old), known_keys)
        new_tree = verify_checkpoint(note, known_keys)
        require(parse_decimal(old_size) == old_tree.size, "old size is not that of the old checkpoint")
        require(old_tree.origin == new_tree.origin, "checkpoints are of different origins")
        verify_consistency(old_tree, new_tree, parse_hashes(hash_lines))
        return f"ok consistent {old_tree.size} -> {new_tree.size}"
    require(old is None, "an old checkpoint was given, but no consistency proof")
    if content.startswith(PROOF_HEADER):
        return verify_proofs(content, known_keys)
    return f"ok checkpoint {verify_checkpoint(content, known_keys).size}"


def read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_FILE_BYTES + 1)  # One more byte is enough to refuse a larger file.


def read_keys(argument: str) -> list[str]:
    if VKEY.fullmatch(argument):
        return [argument]
    lines = read_file(argument).decode("utf-8").split("\n")
    return [line for line in lines if line != "" and not line.startswith("#")]


def main() -> int:
    parser = argparse.ArgumentParser(description="Verifies proofs of a transparency log.", allow_abbrev=False)
    parser.add_argument("file", metavar="FILE", help="inclusion proofs, consistency proof or checkpoint")
    parser.add_argument("--key", metavar="VKEY", action="append", required=True, help="key, or file of keys")
    parser.add_argument("--old", metavar="CHECKPOINT_FILE", help="the old checkpoint of a consistency proof")
    arguments = parser.parse_args()
    try:
        keys = [key for argument in arguments.key for key in read_keys(argument)]
        parse_keys(keys)
        text = read_file(arguments.file)
        old = None if arguments.old is None else read_file(arguments.old)
    except (OSError, UnicodeDecodeError, Invalid) as error:
        parser.error(str(error))
    try:
        result = verify_text(text, keys, old)
    except Invalid as error:
        print(f"invalid: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write((result + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
