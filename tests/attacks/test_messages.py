"""Messages that change after the check, and values at the edges."""

from __future__ import annotations

import pytest

import wasmos
from tests.attacks.agent import PAGE, S, raw
from tests.attacks.attack import Bank, Scene, attack, settle, wat
from tests.attacks.echoes import serve
from wasmos import abi

PING = abi.Ping.TYPE


# --- another task changes it ---


@attack(
    "a second client of a passive service overwrites the first one's message",
    "Deputy forwards the message in its buffer; an accomplice calls it while that call is queued",
    stopped_by=r"call deputy\[\d+\] to bank.* ping",
)
def test_a_passive_buffer_is_not_shared(scene: Scene) -> None:
    """The buffer belongs to the first client until its call is answered."""
    bank = scene.agent("bank", service="bank")
    forward = f"(i32.store (local.get $m) #{PING}) (drop (call $call @bank (local.get $m)))"
    scene.guest("deputy", wat.passive(forward, fibre=True), "bank.ping", service="deputy")
    good, evil = scene.agent("good", "deputy"), scene.agent("evil", "deputy")
    good.begin_call("deputy", abi.Ping(1))
    evil.begin_call("deputy", abi.Ping(666))
    assert bank.recv().message == abi.Ping(1)
    bank.reply(bank.result().src, raw(abi.PingReply.TYPE, 0, 10))
    assert good.result().message == abi.PingReply(10)
    assert not evil.is_back  # its turn comes, with its own message
    assert bank.recv().message == abi.Ping(666)


@attack(
    "a message rewritten by its receiver",
    "A passive service turns the request in its buffer into one that its client may not send",
    stopped_by=r"denial evil.* bank\.ping\(value=666\) field",
)
def test_a_message_rewritten_by_its_receiver(scene: Scene) -> None:
    bank = Bank()
    scene.serve(bank)
    body = f"""(call $put (local.get $m) #{PING} #666)
        (call $answer (call $call @bank (local.get $m)))"""
    scene.guest("evil", wat.passive(body, fibre=True), "bank.ping(value=1)", service="evil")
    victim = scene.agent("victim", "evil", "bank")
    assert victim.call("evil", abi.Ping(1)).message == abi.PingReply(-8)
    assert bank.seen == []


@attack(
    "a request that changes while it is queued",
    "The sender of a queued message, a passive service, is called again to change what it sent",
    stopped_by=r"call deputy\[\d+\] to tcpip.* tcpip_listen",
)
def test_a_queued_request_is_a_copy(scene: Scene) -> None:
    tcpip = scene.agent("tcpip", service="tcpip")
    listen = abi.TcpipListen.TYPE
    body = f"""(i32.store (local.get $m) #{listen}) (i32.store offset=8 (local.get $m) #80)
        (drop (call $call @tcpip (local.get $m)))"""
    deputy = scene.guest(
        "deputy", wat.passive(body, fibre=True), "tcpip.listen(listen_port=80)", service="deputy"
    )
    evil = scene.agent("evil", "deputy")
    evil.begin_call("deputy", abi.Ping(1))
    accomplice = scene.agent("accomplice", "deputy")
    accomplice.begin_call(deputy.id, raw(listen, 0, 81))
    accomplice_oneway = scene.agent("accomplice2", "deputy")
    accomplice_oneway.reply(deputy.id, raw(listen, 0, 81))
    assert tcpip.recv().message == abi.TcpipListen(80)


@attack(
    "memory that grows and is filled while a call waits",
    "A task lays its request at the end of its memory, and grows it before each of 20 calls",
    stopped_by=r"denial evil.* tcpip\.listen\(listen_port=81\) field",
)
def test_memory_that_grows(scene: Scene) -> None:
    service = serve(scene)
    listen = abi.TcpipListen.TYPE
    body = wat.repeat(
        20,
        f"""(local.set $j (i32.sub (i32.mul (memory.size) #{PAGE}) #{abi.MESSAGE_SIZE}))
        (call $put (local.get $j) #{listen} #81)
        (drop (memory.grow #1))
        (if (i32.ne (call $call @tcpip (local.get $j)) #-8) (then (return #1)))""",
    )
    evil = scene.guest("evil", wat.program(body + "#0"), "tcpip.listen(listen_port=80)")
    assert scene.kernel.wait(evil).code == 0
    assert service.seen == []


@attack(
    "the answer written over the request",
    "A request whose answer comes to the same place, and is sent again as it is: other type",
    stopped_by=r"denial evil.* bank\.ping_reply\(value=5\) message",
)
def test_the_answer_sent_as_a_request(scene: Scene) -> None:
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "bank.ping")
    answer = evil.call("bank", abi.Ping(5))
    assert evil.call("bank", answer.data).error == -8
    assert bank.seen == [(evil.id, 5)]


# --- where it lies ---


@pytest.mark.parametrize("at", [PAGE - 8, PAGE - abi.MESSAGE_SIZE + 1, PAGE, -8, -1, 2**31 - 1])
@attack(
    "a message that isn't all in the sender's memory",
    "A pointer to the last bytes, past the end, and so far on that it would wrap around",
    stopped_by=r"refused evil.*: invalid user address",
)
def test_a_message_outside_of_the_memory(scene: Scene, at: int) -> None:
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "bank")
    assert evil.call("bank", b"", at).code == -15
    assert bank.seen == []


@attack(
    "an answer over the kernel's copy",
    "Overlapping request and answer: sent from the middle of the message that the answer fills",
    stopped_by=r"call evil\[\d+\] to bank.* echo",
)
def test_overlapping_messages(scene: Scene) -> None:
    """Nothing overlaps: both go through a copy, and each is whole."""
    bank = Bank()
    scene.serve(bank)
    evil = scene.agent("evil", "bank")
    sent = scene.kernel.encode(abi.Echo(bytes(range(256)) * 4))
    assert evil.call("bank", sent).message == abi.EchoReply(bytes(range(256)) * 4)
    # Again from 4 bytes on: the answer then lies over the message that it is to.
    evil.call("bank", sent[:4] + sent, S + 4)
    assert evil.result().data[4:8] == abi.EchoReply.TYPE.to_bytes(4, "little")
    assert evil.result().data[12:1036] == bytes(range(256)) * 4
    assert [data for _, data in bank.seen] == [bytes(range(256)) * 4] * 2


@pytest.mark.parametrize(
    ("form", "module"),
    [
        ("shared", '(module (memory (export "memory") 1 1 shared) (func (export "main")))'),
        ("64-bit", '(module (memory (export "memory") i64 1) (func (export "main")))'),
        ("two", '(module (memory (export "memory") 1) (memory 1) (func (export "main")))'),
        ("imported", '(module (import "env" "memory" (memory 1)) (func (export "main")))'),
        ("threads", '(module (import "wasi" "thread-spawn" (func (param i32) (result i32)))'
         '(memory (export "memory") 1) (func (export "main")))'),
    ],
)  # fmt: skip
@attack(
    "memory that somebody else can write to",
    "Modules with shared, 64-bit, second or imported memories, and one that starts threads",
    stopped_by=r"error: module: ",
    each="form",
)
def test_memory_that_others_can_write_to(scene: Scene, form: str, module: str) -> None:
    with pytest.raises(wasmos.ModuleRefused) as refused:
        scene.guest("evil", module)
    scene.say(refused.value)
    assert scene.kernel.stores == 0


# --- values at the edges ---


@pytest.mark.parametrize("port", [81, 65536 + 81, -1, 0x00500051])
@attack(
    "a port that wraps",
    "65,617 and other numbers beyond 16 bits in a 16-bit field, to get at port 81 with a "
    "right to 80",
    stopped_by=r"denial evil.* tcpip\.listen\(listen_port=\d+\) field grant \d+ "
    r"\(policy\.toml:3\); "
    r"rule tcpip\.listen\(listen_port=80\)",
)
def test_a_port_that_wraps(scene: Scene, port: int) -> None:
    service = serve(scene)
    evil = scene.agent("evil", "tcpip.listen(listen_port=80)")
    assert evil.call("tcpip", raw(abi.TcpipListen.TYPE, 0, port)).code == -8
    assert service.seen == []


@attack(
    "bytes beside a port",
    "Rubbish in the gap after a 16-bit field that the server might read as its upper half",
    stopped_by=r"call evil\[\d+\] to tcpip.* tcpip_listen",
)
def test_bytes_beside_a_port(scene: Scene) -> None:
    service = serve(scene)
    evil = scene.agent("evil", "tcpip.listen(listen_port=80)")
    evil.call("tcpip", raw(abi.TcpipListen.TYPE, 0, 65536 * 81 + 80))
    assert service.seen == [80]


@pytest.mark.parametrize("index", [-1, 11, -(2**31), 2**31 - 1])
@attack(
    "a sign that is lost",
    "-1, -2^31 and 2^31-1 where 0 to 10 are allowed, read as signed here and unsigned there",
    stopped_by=r"denial evil.* fs\.readdir\(.*\) field .*; rule fs\.readdir\(index=0\.\.10\)",
)
def test_a_sign_that_is_lost(scene: Scene, index: int) -> None:
    service = serve(scene, "fs")
    evil = scene.agent("evil", "fs.readdir(index=0..10)")
    assert evil.call("fs", abi.FsReaddir("/", index)).code == -8
    assert service.seen == []


@pytest.mark.parametrize("length", [513, 1025, 2**31, 2**32 - 1])
@attack(
    "a length beyond the bytes",
    "A length of 513, 1,025, 2^31 and 2^32-1 bytes with a right to write 512",
    stopped_by=r"denial evil.* tcpip\.write\(.*\) field",
)
def test_a_length_beyond_the_bytes(scene: Scene, length: int) -> None:
    service = serve(scene)
    evil = scene.agent("evil", "tcpip.write(len(data)=..512)")
    message = bytearray(scene.kernel.encode(abi.TcpipWrite(3, b"x")))
    at = next(f.len_offset for f in abi.TcpipWrite.FIELDS if f.name == "data")
    message[at : at + 4] = length.to_bytes(4, "little")
    assert evil.call("tcpip", bytes(message)).code == -8
    assert service.seen == []


@pytest.mark.parametrize("length", [1025, 2**31, 2**32 - 1])
@attack(
    "a length that makes the server read on",
    "The same without a bound in the rule: bytes behind the message would leak",
    stopped_by=r"reply tcpip.* to evil.*: invalid argument",
)
def test_a_length_that_reads_on(scene: Scene, length: int) -> None:
    service = serve(scene)
    evil = scene.agent("evil", "tcpip")
    message = bytearray(scene.kernel.encode(abi.TcpipWrite(3, b"x")))
    at = next(f.len_offset for f in abi.TcpipWrite.FIELDS if f.name == "data")
    message[at : at + 4] = length.to_bytes(4, "little")
    assert evil.call("tcpip", bytes(message)).error == -11
    assert service.seen == []


@attack(
    "a text without an end",
    "A host name that fills its field, so that whoever reads it reads on",
    stopped_by=r"denial evil.* tcpip\.dns_resolve\(.*\) field",
)
def test_a_text_without_an_end(scene: Scene) -> None:
    service = serve(scene)
    evil = scene.agent("evil", 'tcpip.dns_resolve(hostname="*.example.com")')
    text = b"a" * (256 - 12) + b".example.com"
    assert evil.call("tcpip", raw(abi.TcpipDnsResolve.TYPE) + text).code == -8
    assert service.seen == []


@attack(
    "a text without an end, past a deny rule",
    "The same against `deny tcpip.dns_resolve(hostname=…)`: what can't be told is denied",
    stopped_by=r"denial evil.* tcpip\.dns_resolve\(.*\) denied",
)
def test_a_text_without_an_end_past_a_deny_rule(scene: Scene) -> None:
    service = serve(scene)
    evil = scene.agent("evil", "tcpip")
    scene.kernel.deny(evil.task, 'tcpip.dns_resolve(hostname="evil.com")', origin="policy.toml:9")
    text = b"evil.com".ljust(256, b".")
    assert evil.call("tcpip", raw(abi.TcpipDnsResolve.TYPE) + text).code == -8
    assert service.seen == []


@attack(
    "what was left in memory",
    "A client reads its whole buffer after an answer shorter than its request, and after padding",
    stopped_by=r"reply bank.* to evil.* ping_reply",
)
def test_what_was_left_in_memory(scene: Scene) -> None:
    """Nobody else's bytes come back: behind the answer stands what the client had there."""
    bank = Bank()
    scene.serve(bank)
    victim = scene.agent("victim", "bank")
    evil = scene.agent("evil", "bank")
    victim.call("bank", abi.Echo(b"SECRET" * 100))
    answer = evil.call("bank", raw(PING, 0, 1) + b"\xaa" * 1000)
    assert b"SECRET" not in answer.data
    assert answer.data[abi.PingReply.SIZE : 1000] == b"\xaa" * (1000 - abi.PingReply.SIZE)
    settle(scene.kernel)
