"""Scripts as text: Core's `asm`, and the descriptor that Core infers for a scriptPubKey without knowing keys."""

from __future__ import annotations

from pyln_fast.testing.regtest import scripts
from pyln_fast.testing.regtest.addresses import address_of_script
from pyln_fast.testing.regtest.scripts import ScriptType

_NAMES = {
    0x4F: "-1", 0x50: "OP_RESERVED", 0x61: "OP_NOP", 0x62: "OP_VER", 0x63: "OP_IF", 0x64: "OP_NOTIF",
    0x65: "OP_VERIF", 0x66: "OP_VERNOTIF", 0x67: "OP_ELSE", 0x68: "OP_ENDIF", 0x69: "OP_VERIFY", 0x6A: "OP_RETURN",
    0x6B: "OP_TOALTSTACK", 0x6C: "OP_FROMALTSTACK", 0x6D: "OP_2DROP", 0x6E: "OP_2DUP", 0x6F: "OP_3DUP",
    0x70: "OP_2OVER", 0x71: "OP_2ROT", 0x72: "OP_2SWAP", 0x73: "OP_IFDUP", 0x74: "OP_DEPTH", 0x75: "OP_DROP",
    0x76: "OP_DUP", 0x77: "OP_NIP", 0x78: "OP_OVER", 0x79: "OP_PICK", 0x7A: "OP_ROLL", 0x7B: "OP_ROT",
    0x7C: "OP_SWAP", 0x7D: "OP_TUCK", 0x7E: "OP_CAT", 0x7F: "OP_SUBSTR", 0x80: "OP_LEFT", 0x81: "OP_RIGHT",
    0x82: "OP_SIZE", 0x83: "OP_INVERT", 0x84: "OP_AND", 0x85: "OP_OR", 0x86: "OP_XOR", 0x87: "OP_EQUAL",
    0x88: "OP_EQUALVERIFY", 0x89: "OP_RESERVED1", 0x8A: "OP_RESERVED2", 0x8B: "OP_1ADD", 0x8C: "OP_1SUB",
    0x8D: "OP_2MUL", 0x8E: "OP_2DIV", 0x8F: "OP_NEGATE", 0x90: "OP_ABS", 0x91: "OP_NOT", 0x92: "OP_0NOTEQUAL",
    0x93: "OP_ADD", 0x94: "OP_SUB", 0x95: "OP_MUL", 0x96: "OP_DIV", 0x97: "OP_MOD", 0x98: "OP_LSHIFT",
    0x99: "OP_RSHIFT", 0x9A: "OP_BOOLAND", 0x9B: "OP_BOOLOR", 0x9C: "OP_NUMEQUAL", 0x9D: "OP_NUMEQUALVERIFY",
    0x9E: "OP_NUMNOTEQUAL", 0x9F: "OP_LESSTHAN", 0xA0: "OP_GREATERTHAN", 0xA1: "OP_LESSTHANOREQUAL",
    0xA2: "OP_GREATERTHANOREQUAL", 0xA3: "OP_MIN", 0xA4: "OP_MAX", 0xA5: "OP_WITHIN", 0xA6: "OP_RIPEMD160",
    0xA7: "OP_SHA1", 0xA8: "OP_SHA256", 0xA9: "OP_HASH160", 0xAA: "OP_HASH256", 0xAB: "OP_CODESEPARATOR",
    0xAC: "OP_CHECKSIG", 0xAD: "OP_CHECKSIGVERIFY", 0xAE: "OP_CHECKMULTISIG", 0xAF: "OP_CHECKMULTISIGVERIFY",
    0xB0: "OP_NOP1", 0xB1: "OP_CHECKLOCKTIMEVERIFY", 0xB2: "OP_CHECKSEQUENCEVERIFY", 0xB3: "OP_NOP4", 0xB4: "OP_NOP5",
    0xB5: "OP_NOP6", 0xB6: "OP_NOP7", 0xB7: "OP_NOP8", 0xB8: "OP_NOP9", 0xB9: "OP_NOP10", 0xBA: "OP_CHECKSIGADD",
}  # fmt: skip
_SHORT_PUSH_BYTES = 4


def asm(script: bytes) -> str:
    """Pushes of up to four bytes as numbers, longer ones as hex, the rest by name."""
    words = []
    try:
        for opcode, data, _ in scripts.operations(script):
            if opcode <= scripts.OP_PUSHDATA4:
                words.append(str(_number(data)) if len(data) <= _SHORT_PUSH_BYTES else data.hex())
            elif scripts.OP_1 <= opcode <= scripts.OP_16:
                words.append(str(opcode - scripts.OP_1 + 1))
            else:
                words.append(_NAMES.get(opcode, "OP_UNKNOWN"))
    except scripts.MalformedScript:
        words.append("[error]")
    return " ".join(words)


def _number(data: bytes) -> int:
    if not data:
        return 0
    magnitude = int.from_bytes(data, "little")
    sign = 1 << 8 * len(data) - 1
    return -(magnitude ^ sign) if magnitude & sign else magnitude


def descriptor(script: bytes) -> str:
    kind = scripts.script_type(script)
    address = address_of_script(script)
    if kind is ScriptType.PUBKEY:
        text = f"pk({script[1:-1].hex()})"
    elif kind is ScriptType.WITNESS_V1_TAPROOT:
        text = f"rawtr({script[2:].hex()})"
    elif kind is ScriptType.MULTISIG:
        parts = [data.hex() for _, data, _ in scripts.operations(script[:-1])]
        limits = scripts.multisig(script)
        assert limits is not None, "a script of this type has them"
        text = f"multi({','.join([str(limits[0]), *parts[1:-1]])})"
    else:
        text = f"addr({address})" if address is not None else f"raw({script.hex()})"
    return f"{text}#{_checksum(text)}"


# BIP 380: the checksum of descriptors
_INPUT_CHARACTERS = "0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#\"\\ "
_CHECKSUM_CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0xF5DEE51989, 0xA9FDCA3312, 0x1BAB10E32D, 0x3706B1677A, 0x644D626FFD)


def _polymod(check: int, value: int) -> int:
    top = check >> 35
    check = (check & 0x7FFFFFFFF) << 5 ^ value
    for bit, generator in enumerate(_GENERATOR):
        check ^= generator if top >> bit & 1 else 0
    return check


def _checksum(text: str) -> str:
    check, groups, count = 1, 0, 0
    for character in text:
        position = _INPUT_CHARACTERS.index(character)
        check = _polymod(check, position & 31)
        groups = groups * 3 + (position >> 5)
        count += 1
        if count == 3:
            check, groups, count = _polymod(check, groups), 0, 0
    if count:
        check = _polymod(check, groups)
    for _ in range(8):
        check = _polymod(check, 0)
    check ^= 1
    return "".join(_CHECKSUM_CHARACTERS[check >> 5 * (7 - i) & 31] for i in range(8))
