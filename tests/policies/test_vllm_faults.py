"""Servers that restart, forget and break off, and several at once; they say what they are told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from siri.errors import ConfigError, EngineAway, PolicyFault
from siri.policies import shared_memory
from siri.policies.buckets import SHARED
from siri.policies.vllm_http import UNFINISHED
from siri.policies.vllm_server import VLLMServerPolicy
from siri.types import Completion, Request, Sampling
from tests.policies._servers import Fake, serving
from tests.policies._tiny import tiny_model, tiny_tokenizer, user

pytest.importorskip("httpx")

SAMPLING = Sampling(max_tokens=4)


@contextmanager
def playing(*fakes: Fake, patience: float = 5, transfer: Any = "auto") -> Iterator[VLLMServerPolicy]:
    with ExitStack() as held:
        url = ",".join([held.enter_context(serving(fake)) for fake in fakes])
        policy = VLLMServerPolicy(
            tiny_model(0), tiny_tokenizer(), url=url, slots=4, patience=patience, transfer=transfer
        )
        held.callback(policy.close)
        yield policy


def newest(policy: VLLMServerPolicy) -> Path:
    """The folder of the weights that were pushed last."""
    return policy._exchange.folder / str(policy.version)


def asked(policy: VLLMServerPolicy, count: int = 6) -> list[Completion]:
    return policy.generate([Request([user("w1")], session=f"s{n}", seed=n) for n in range(count)], SAMPLING)


def by(completions: list[Completion]) -> set[float]:
    """The versions that sampled."""
    return {-value for completion in completions for value in completion.logprobs}


def once(path: str, status: int, then: Callable[[], None] = lambda: None) -> Callable[[str], int | None]:
    left = [1]

    def trouble(asked_for: str) -> int | None:
        if asked_for.startswith(path) and left:
            left.pop()
            then()
            return status
        return None

    return trouble


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shared memory of this test alone."""
    monkeypatch.setattr(shared_memory, "MEMORY", tmp_path)
    return tmp_path


@pytest.fixture(params=[None, SHARED], ids=["checkpoint", "tensors"])
def fake(request: pytest.FixtureRequest) -> Fake:
    """A server for each way of weights."""
    return Fake(request.param)


def test_sessions_stay_with_a_server_and_every_server_has_the_weights(fake: Fake) -> None:
    fakes = fake, Fake(fake.backend)
    with playing(*fakes) as policy:
        assert policy.transfer == ("checkpoint" if fake.backend is None else "tensors")
        asked(policy, 12)
        first = [len(fake.prompts) for fake in fakes]
        assert min(first) > 0
        asked(policy, 12)
        assert [len(fake.prompts) for fake in fakes] == [2 * count for count in first]
        policy.reset_cache()
        assert by(asked(policy)) == {1}
        assert {fake.weights for fake in fakes} == {"1"}
        assert fakes[0].version == fakes[1].version


@pytest.mark.parametrize("status", [0, 500, 503])
def test_a_server_that_restarts_is_given_the_weights_again_and_asked_again(fake: Fake, status: int) -> None:
    with playing(fake) as policy:
        policy.reset_cache()
        before = asked(policy)
        fake.trouble = once("/inference", status, fake.begin)
        written = newest(policy).stat().st_mtime_ns
        assert asked(policy) == before
        assert by(before) == {1}
        assert newest(policy).stat().st_mtime_ns == written  # what lies there is enough


@pytest.mark.parametrize("status", [0, 503])
def test_a_server_that_restarts_during_an_update_is_waited_for(fake: Fake, status: int) -> None:
    path = "/collective_rpc" if fake.backend is None else "/finish_weight_update"
    with playing(fake) as policy:
        policy.reset_cache()
        away = iter([status] * 3)  # the request, those that would mend it, and one more

        def trouble(asked_for: str) -> int | None:
            nonlocal path
            if asked_for == path:
                path = ""  # from now on it is away
                fake.begin()
            return next(away, None) if not path else None

        fake.trouble = trouble
        assert by(asked(policy)) == {1}
        assert fake.version == policy._tag()


def test_what_other_weights_sampled_is_asked_for_again(fake: Fake) -> None:
    with playing(fake) as policy:
        # somebody pushes between the check of the version and the request
        fake.trouble = once("/inference", 503, lambda: vars(fake).update(weights="7", version="theirs"))
        assert by(asked(policy)) == {0}
        assert fake.version == policy._tag()


@pytest.mark.parametrize("status", [400, 500])
def test_an_update_that_fails_is_said_and_recovered(fake: Fake, status: int) -> None:
    path = "/collective_rpc" if fake.backend is None else "/update_weights"
    with playing(fake) as policy:
        policy.reset_cache()
        fake.trouble = once(path, status)
        with pytest.raises(PolicyFault, match=rf"HTTP {status} from .*{path}") as found:
            asked(policy)
        assert not isinstance(found.value, EngineAway)  # it is there, so nobody waits for it
        assert fake.version == UNFINISHED
        assert not fake.paused
        assert not fake.updating
        assert by(asked(policy)) == {1}


def test_a_server_that_cannot_be_mended_stays_paused() -> None:
    """With part of its weights missing it would die of a request."""
    fake = Fake(SHARED)
    with playing(fake) as policy:
        policy.reset_cache()
        fake.trouble = lambda path: 500 if path in ("/update_weights", "/finish_weight_update") else None
        with pytest.raises(PolicyFault, match="/update_weights"):
            asked(policy)
        assert fake.paused
        fake.trouble = lambda _: None
        assert by(asked(policy)) == {1}


def test_a_server_that_a_dead_trainer_left_in_any_state_is_mended(fake: Fake) -> None:
    fake.paused = fake.sleeping = True
    fake.updating, fake.version = fake.backend is not None, UNFINISHED
    with playing(fake) as policy:
        assert "/wake_up" in fake.seen
        assert not fake.paused
        assert not fake.updating
        assert by(asked(policy)) == {0}


def test_a_server_that_stays_away_is_waited_for_so_long(fake: Fake) -> None:
    with playing(fake, patience=0.3) as policy:
        fake.trouble = lambda _: 503
        with pytest.raises(EngineAway, match="HTTP 503"):
            asked(policy)
        fake.trouble = lambda _: None


def test_a_request_that_kills_its_server_each_time_is_given_up() -> None:
    fake = Fake()
    with playing(fake) as policy:
        fake.trouble = lambda path: 500 if path.startswith("/inference") else None
        with pytest.raises(PolicyFault, match="in 3 tries") as found:
            asked(policy, 1)
        assert len(str(found.value)) <= 300
        fake.trouble = lambda _: None
        assert by(asked(policy, 1)) == {0}


@pytest.mark.parametrize(
    ("said", "pushed"), [("torch.bfloat16", torch.bfloat16), ("odd", torch.float32), (None, torch.float32)]
)
def test_weights_are_pushed_in_the_type_of_the_server(said: str | None, pushed: torch.dtype) -> None:
    fake = Fake()
    fake.dtype = said
    with playing(fake) as policy:
        [file] = newest(policy).glob("*.safetensors")
        assert {value.dtype for value in load_file(file).values()} == {pushed}
        assert policy.model.dtype == torch.float32


def test_weights_go_to_the_disk_a_bucket_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siri.policies.exchange._BUCKET", 1000)
    fake = Fake()
    with playing(fake) as policy:
        files = sorted(newest(policy).glob("*.safetensors"))
        found = {name: value for file in files for name, value in load_file(file).items()}
        own = dict(policy.model.named_parameters())
        assert len(files) > 2
        assert found.keys() - {"lm_head.weight"} == own.keys()
        assert all(found[name].equal(value) for name, value in own.items())


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    fake = Fake()
    with playing(fake) as policy:
        policy.reset_cache()
        monkeypatch.setattr("siri.policies.exchange.save_file", full)
        with pytest.raises(PolicyFault, match=r"No space left .*TMPDIR") as found:
            asked(policy)
        monkeypatch.undo()
        assert by(asked(policy)) == {1}
    assert len(str(found.value)) <= 300


def test_one_address_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        VLLMServerPolicy(tiny_model(0), tiny_tokenizer(), url="http://a:1,http://a:1/v1")


def test_tensors_arrive_in_buckets_and_only_the_newest_are_kept(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siri.policies.exchange._BUCKET", 1000)
    fake = Fake(SHARED)
    fake.dtype = "torch.bfloat16"
    with playing(fake) as policy:
        policy.reset_cache()
        asked(policy)
        own = dict(policy.model.named_parameters())
        assert fake.received.keys() - {"lm_head.weight"} == own.keys()
        assert all(fake.received[name].equal(value.bfloat16()) for name, value in own.items())
        assert fake.seen.count("/update_weights") > 4
        assert fake.seen.count("/start_weight_update") == fake.seen.count("/finish_weight_update") == 2
        [folder] = memory.iterdir()
        assert [path.name for path in folder.iterdir() if path.is_dir()] == ["1"]
        del own
    assert list(memory.iterdir()) == []


def test_full_shared_memory_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> Iterator[Any]:
        yield {}
        raise OSError(28, "No space left on device")

    with playing(Fake(SHARED)) as policy:
        policy.reset_cache()
        monkeypatch.setattr("siri.policies.exchange.written", full)
        with pytest.raises(PolicyFault, match=r"No space left .*rollout\.transfer=checkpoint") as found:
            asked(policy)
        monkeypatch.undo()
        assert by(asked(policy)) == {1}
    assert len(str(found.value)) <= 300


def blind(fake: Fake) -> None:
    fake.trouble = lambda path: 500 if path == "/init_weight_transfer_engine" else None


def no_room(fake: Fake) -> None:
    shared_memory.MEMORY = shared_memory.MEMORY / "missing"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda fake: vars(fake).update(backend=None), "no backend for transfers at"),
        (lambda fake: vars(fake).update(backend="ipc"), "the backend ipc at"),
        (lambda fake: vars(fake).update(backend="nccl"), "nccl without a GPU or vLLM"),
        (blind, "other shared memory at"),
        (no_room, "0 bytes of shared memory for"),
    ],
)
def test_without_tensors_it_is_a_checkpoint_or_refused_where_tensors_were_asked_for(
    spoil: Callable[[Fake], None], said: str, memory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake = Fake(SHARED)
    spoil(fake)
    caplog.set_level("INFO", "siri")
    with playing(fake) as policy:
        assert policy.transfer == "checkpoint"
        assert by(asked(policy)) == {0}
    [line] = [record for record in caplog.records if "weights go to" in record.message]
    assert said in line.message
    assert line.levelname == ("INFO" if fake.backend is None else "WARNING")
    with pytest.raises(ConfigError, match=said) as found, playing(fake, transfer="tensors"):
        pass
    assert len(str(found.value)) <= 300
    assert list(memory.iterdir()) == []


def test_servers_with_different_backends_are_given_a_checkpoint() -> None:
    with playing(Fake(SHARED), Fake()) as policy:
        assert policy.transfer == "checkpoint"


def test_a_checkpoint_can_be_asked_for(memory: Path) -> None:
    fake = Fake(SHARED)
    with playing(fake, transfer="checkpoint") as policy:
        assert policy.transfer == "checkpoint"
        assert "/init_weight_transfer_engine" not in fake.seen
        assert list(memory.iterdir()) == []
