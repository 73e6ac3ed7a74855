"""Talking to a vLLM server over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from siri.errors import ConfigError, EngineAway, MissingExtra, PolicyFault, SiriError
from siri.policies.engine import Sampled
from siri.types import Sampling

if TYPE_CHECKING:
    import httpx

__all__ = ["UNFINISHED", "Server", "addresses", "on_each"]

T = TypeVar("T")

_AWAY = (500, 502, 503, 504)
"""HTTP statuses of a server whose engine has died, or that has not started yet."""
_GENERATE = "/inference/v1/generate"
UNFINISHED = "siri-unfinished"
"""Name of the weights while they are being replaced."""


def addresses(urls: str) -> list[str]:
    """Split a list of addresses at its commas.

    Raises:
        ConfigError: an address occurs twice.
    """
    found = [url.strip().rstrip("/").removesuffix("/v1") for url in urls.split(",")]
    if twice := next((url for url in found if found.count(url) > 1), None):
        raise ConfigError(f"got the server {twice[:80]!r} twice, expected each once; fix: name it once")
    return found


class Server:
    """One vLLM server.

    Args:
        url: its address; a trailing ``/v1`` is left out.
        timeout: seconds for one request.
        connections: most requests at once.

    Raises:
        ConfigError: the address is malformed.
        MissingExtra: httpx is not installed.
    """

    def __init__(self, url: str, *, timeout: float, connections: int) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("httpx", "vllm-server") from error
        base = url.rstrip("/").removesuffix("/v1")
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        try:
            if not base.startswith(("http://", "https://")) or not httpx.URL(base).host:
                raise httpx.InvalidURL("no host")
            self._client: httpx.Client = httpx.Client(base_url=base, timeout=timeout, limits=limits)
        except (httpx.InvalidURL, ValueError) as error:
            raise ConfigError(
                f"got {url[:80]!r}, expected the address of a vLLM server; fix: http://HOST:PORT"
            ) from error
        self.url = str(self._client.base_url).rstrip("/")
        self._model: str | None = None

    def ask(
        self,
        verb: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        alone: bool = False,
    ) -> Any:
        """Send one request; return the JSON answer, or None without one.

        Args:
            verb: the HTTP method.
            path: the endpoint.
            body: what to send, as JSON.
            query: parameters.
            alone: use a connection for this request alone. vLLM closes one on which an error was sent.

        Raises:
            ConfigError: the server lacks an endpoint that must be enabled.
            EngineAway: the server is away.
            PolicyFault: the server does not answer in time, or not with JSON.
        """
        import httpx

        url = self.url[:80]
        try:
            headers = {"Connection": "close"} if alone else None
            response = self._client.request(verb, path, json=body, params=query, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            slow = isinstance(error, httpx.ReadTimeout) or not isinstance(error, httpx.TransportError)
            raise (PolicyFault if slow else EngineAway)(
                f"got no answer from {url} ({type(error).__name__}), expected a vLLM server; "
                "fix: start it, or its address"
            ) from error
        if path == _GENERATE and response.status_code in (403, 404):
            raise ConfigError(
                f"got a server at {url} without {path}, expected vLLM's endpoint for token ids; "
                "fix: vLLM 0.32 or newer, started with --enable-scale-out"
            )
        if response.status_code == 404 and not path.startswith("/v1/"):
            raise ConfigError(
                f"got a server at {url} without {path}, expected vLLM's development endpoints; "
                "fix: start it with VLLM_SERVER_DEV_MODE=1"
            )
        if response.is_error:
            said = " ".join(response.text.split())[:120]
            raise (EngineAway if response.status_code in _AWAY else PolicyFault)(
                f"got HTTP {response.status_code} from {url}{path} ({said}), expected a vLLM server; "
                "fix: see its log"
            )
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise PolicyFault(
                f"got no JSON from {url}{path}, expected a vLLM server; fix: start one there, or another "
                "address"
            ) from error

    def served(self) -> tuple[str, int | None]:
        """The name of the server's model, and its context in tokens if the server states it.

        Raises:
            PolicyFault: the server does not say which model it serves.
        """
        answer = self.ask("GET", "/v1/models")
        try:
            model = answer["data"][0]
            self._model = str(model["id"])
            return self._model, int(model["max_model_len"]) if model.get("max_model_len") else None
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise PolicyFault(
                f"got no model from {self.url[:80]}/v1/models, expected a vLLM server that serves one; "
                "fix: vllm serve MODEL"
            ) from error

    def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, seed: int, stops: Sequence[int]
    ) -> tuple[Sampled, set[str]]:
        """Sample one completion; return it with the versions of its weights, none if it was cut short.

        siri sets every sampling parameter; this endpoint ignores the model's ``generation_config.json``.

        Raises:
            ConfigError, PolicyFault: as in ``ask``; or the answer is incomplete.
        """
        parameters = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "stop_token_ids": list(stops),
            "seed": seed,
            "logprobs": 0,
            "detokenize": False,
        }
        body = {"token_ids": list(prompt), "sampling_params": parameters, "model": self._model}
        answer = self.ask("POST", _GENERATE, body=body)
        try:
            [choice] = answer["choices"]
            if choice["finish_reason"] in ("abort", "error"):
                return Sampled((), ()), set()
            ids = tuple(map(int, choice["token_ids"]))
            logprobs = tuple(float(at["logprob"]) for at in choice["logprobs"]["content"])
            versions = {str(span["version"]) for span in choice["weight_versions"]}
            if len(ids) != len(logprobs):
                raise ValueError("not one log-prob a token")
        except (KeyError, TypeError, ValueError) as error:
            raise PolicyFault(
                f"got a completion without token ids, log-probs or weight versions from {self.url[:80]}, "
                "expected all three; fix: vLLM 0.32 or newer"
            ) from error
        return Sampled(ids, logprobs), versions

    def version(self) -> str:
        """The server's name for the weights that it has."""
        try:
            return str(self.ask("GET", "/weight_info")["weight_version"])
        except (KeyError, TypeError) as error:
            raise PolicyFault(
                f"got no version of the weights from {self.url[:80]}, expected one; fix: vLLM 0.32 or newer"
            ) from error

    def load(self, folder: Path, version: str) -> None:
        """Make the server load the weights of a checkpoint, and forget what it computed with the old ones.

        Pending requests are cut short. If the load is interrupted, the weights are called ``UNFINISHED``.

        Raises:
            EngineAway: the server is away.
            PolicyFault: it could not load them.
        """
        with self._paused():
            call = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            self._change("/collective_rpc", call)
            self._change("/reset_prefix_cache")
            self._change("/update_weight_version", {"new_version": version})

    @contextmanager
    def updating(self, version: str) -> Iterator[None]:
        """Begin an update by vLLM's transfer API; end it, and name the weights, after the body.

        As with ``load``, pending requests are cut short, weights that came in part are ``UNFINISHED``, and
        the server forgets what it computed with the old ones.

        Raises:
            EngineAway: the server is away.
            PolicyFault: it could not take the weights.
        """
        with self._paused(self._settle):
            try:
                self._change("/start_weight_update")
            except PolicyFault:
                self._settle()  # a trainer that died left its update open
                self._change("/start_weight_update")
            yield
            self._change("/reset_prefix_cache")
            self._change("/finish_weight_update", {"weight_version": version})

    def receive(self, part: Mapping[str, Any]) -> None:
        """Take a part of the weights, during an update; ``part`` is what the server's backend needs."""
        self._change("/update_weights", {"update_info": part})

    def join(self, info: Mapping[str, Any]) -> None:
        """Tell the server's backend what it needs before the first update."""
        self._change("/init_weight_transfer_engine", {"init_info": info})

    def meets(self, info: Mapping[str, Any]) -> bool:
        """``join``; return whether the backend could."""
        try:
            self.join(info)
        except EngineAway:
            raise
        except PolicyFault:
            return False
        return True

    def backend(self) -> str | None:
        """The backend of its weight transfers; None if it has none."""
        try:
            return str(self._config()["weight_transfer_config"]["backend"])
        except (KeyError, TypeError):
            return None

    def workers(self) -> int:
        """Number of its processes that hold weights."""
        return int(self.ask("GET", "/get_world_size")["world_size"])

    @contextmanager
    def _paused(self, mend: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Pause the server in the body, whose weights are ``UNFINISHED`` until it names others.

        After an error ``mend`` is called before the server resumes.
        """
        self.ask("POST", "/pause", query={"mode": "abort"})
        try:
            self._change("/update_weight_version", {"new_version": UNFINISHED})
            yield
        except BaseException:
            with suppress(SiriError):
                mend()
                self.ask("POST", "/resume")
            raise
        self.ask("POST", "/resume")

    def _settle(self) -> None:
        """End an update that broke off: without some of its weights, the engine would die of a request."""
        with suppress(PolicyFault):
            self._change("/start_weight_update")
        self._change("/finish_weight_update")

    def _change(self, path: str, body: Mapping[str, Any] | None = None) -> None:
        """Ask for a change of the weights.

        Raises:
            PolicyFault: the server lives, but refused or failed.
        """
        try:
            self.ask("POST", path, body=body, alone=True)
        except EngineAway as error:
            if error.__cause__ is not None:  # it broke off without an answer
                raise
            try:
                self.ask("GET", "/health")
            except PolicyFault:
                raise error from None
            raise PolicyFault(str(error)) from error

    def awake(self) -> None:
        """Wake the server if it sleeps. A process that died may have left it so."""
        if self.ask("GET", "/is_sleeping")["is_sleeping"]:
            self.wake()

    def sleep(self) -> bool:
        """Put the server to sleep; return whether that frees memory, which vLLM does not do on a CPU.

        Raises:
            ConfigError: the server was started without sleep mode.
        """
        config = self._config()
        frees = bool(config["device_config"]["device"] != "cpu")
        if frees and not config["model_config"]["enable_sleep_mode"]:
            raise ConfigError(
                f"got a server at {self.url[:80]} without sleep mode, expected one that can give its memory "
                "back; fix: start it with --enable-sleep-mode, or rollout.sleep=false"
            )
        self.ask("POST", "/sleep", query={"level": "2"})
        return frees

    def dtype(self) -> str | None:
        """Return the name of the type that it computes in; None where it does not say."""
        try:
            return str(self._config()["model_config"]["dtype"]).removeprefix("torch.")
        except (KeyError, TypeError):
            return None

    def _config(self) -> Any:
        return self.ask("GET", "/server_info", query={"config_format": "json"})["vllm_config"]

    def wake(self) -> None:
        """Wake the server, with any weights."""
        self.ask("POST", "/wake_up")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def on_each(servers: Sequence[Server], function: Callable[[Server], T]) -> list[T]:
    """Call ``function`` with all servers at once."""
    with ThreadPoolExecutor(len(servers), thread_name_prefix="vllm") as pool:
        return list(pool.map(function, servers))
