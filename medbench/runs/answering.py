"""Having the requests of all tasks answered into the response store: in this process, or by workers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medbench.errors import WorkersError
from medbench.runs.extras import reason
from medbench.runs.harness import gather_requests
from medbench.runs.interruption import GracefulStop
from medbench.runs.plan import RunPlan
from medbench.runs.progress import ProgressListener
from medbench.runs.protocol import model_source
from medbench.runs.routing import warn_without_routers
from medbench.runs.store import ResponseStore, StoreError

if TYPE_CHECKING:
    from medbench.models import MedbenchLM, StoredLM
    from medbench.workers.answered import AnsweredLM
    from medbench.workers.batches import Batch
    from medbench.workers.cluster import WorkerOptions
    from medbench.workers.dispatch import WorkerPool
    from medbench.workers.replica import BatchResult, ReplicaSpec

_LOG = logging.getLogger(__name__)

_STAGES = {
    "loglikelihood": "choosing among options",
    "loglikelihood_rolling": "scoring texts",
    "generate_until": "writing answers",
}


def open_stored(plan: RunPlan, store: ResponseStore) -> StoredLM:
    """The answers of a store as a model, for ``--rescore``."""
    from medbench.models import StoredLM

    return StoredLM(
        model_source(plan.model).tokenizer(),
        store,
        seed=plan.settings.seed,
        thinking=plan.protocol.reasoning(),
    )


def answer_alone(
    plan: RunPlan,
    store: ResponseStore,
    tasks: Mapping[str, Any],
    listener: ProgressListener,
    stop: GracefulStop,
    *,
    note_engine: Callable[[Mapping[str, Any]], None],
) -> MedbenchLM:
    """Load the model and have it answer the requests of all tasks; what fails is met again by its task."""
    _look_for_routers(plan, listener)
    from medbench.models.harness.answers import request_keys

    lm = _open_model(plan, store, listener, stop)
    note_engine(lm.get_model_info())
    requests = _requests(plan, lm, tasks)
    listener.begin(sum(_documents(instances) for instances in requests.values()))
    for kind, instances in requests.items():
        stop.check()
        keys = request_keys(kind, instances, plan.settings.seed)
        answered = _answered_documents({kind: instances}, {kind: keys}, store)
        listener.stage(_STAGES.get(kind, kind), _documents(instances), answered)
        try:
            getattr(lm, kind)(instances)
        except StoreError:
            raise  # no task can go on without it
        except Exception as error:  # noqa: BLE001 - a device or a tokenizer may raise anything; its task meets it again
            _say_unanswered(listener, reason(error))
    listener.stage("scoring", 0)
    return lm


def answer_with_workers(
    plan: RunPlan,
    store: ResponseStore,
    tasks: Mapping[str, Any],
    listener: ProgressListener,
    stop: GracefulStop,
    *,
    workers: WorkerOptions,
    note: Callable[[dict[str, Any]], None],
    note_engine: Callable[[Mapping[str, Any]], None],
) -> AnsweredLM:
    """Have workers answer the requests of all tasks, and send them home.

    Args:
        plan: What to do.
        store: Where answers go, as they arrive.
        tasks: lm-eval's tasks by name.
        listener: Hears how far the workers have come, all together.
        stop: Asked whether to stop.
        workers: Who they are.
        note: Told what to record of them.
        note_engine: Told what each says of its model.

    Returns:
        A model that answers from the store, and knows why it cannot.

    Raises:
        WorkersError: Workers cannot be started, or none is left.
        ModelError: No worker could load the model.
    """
    from medbench.models.harness.answers import request_keys
    from medbench.workers.answered import AnsweredLM
    from medbench.workers.batches import cut_batches
    from medbench.workers.dispatch import Dispatcher
    from medbench.workers.notices import Warnings

    _look_for_routers(plan, listener)
    lm = AnsweredLM(
        model_source(plan.model).tokenizer(),
        store,
        seed=plan.settings.seed,
        thinking=plan.protocol.reasoning(),
    )
    requests = _requests(plan, lm, tasks)
    keys = {kind: request_keys(kind, instances, plan.settings.seed) for kind, instances in requests.items()}
    total = sum(len(set(names)) for names in keys.values())
    documents = sum(_documents(instances) for instances in requests.values())
    warnings = Warnings()
    with _pool(plan, workers, listener) as (pool, count, description):
        note({"workers": description})
        batches = _missing(cut_batches(requests, keys, count), store)
        answered = total - sum(len(batch.keys) for batch in batches)
        listener.begin(documents)
        listener.stage(f"{count} workers", documents, _answered_documents(requests, keys, store))
        listener.advance(answered / max(1, total))

        def commit(batch: Batch, result: BatchResult) -> None:
            nonlocal answered
            store.put(result.answers, result.routing, result.traces)
            warnings.add(result.notices)
            answered += sum(key in result.answers for key in batch.keys)
            listener.advance(answered / max(1, total), result.tokens)

        dispatcher = Dispatcher(
            pool,
            commit,
            check=stop.check,
            warn=_LOG.warning,
            ready=lambda loaded: note_engine(loaded.info),
        )
        try:
            dispatcher.run(batches)
        finally:
            note({"workers": {**description, "restarts": dispatcher.restarts}})
            warnings.log()
    if dispatcher.loaded is not None:
        lm.info = dispatcher.loaded.info
    lm.failures = dispatcher.failures
    for why in dict.fromkeys(dispatcher.failures.values()):
        _say_unanswered(listener, reason(why.error()))
    listener.stage("scoring", 0)
    return lm


def _requests(plan: RunPlan, lm: Any, tasks: Mapping[str, Any]) -> dict[str, list[Any]]:
    return gather_requests(
        lm, tasks, plan.settings, chat_template=plan.chat_template, system=plan.system_prompt
    )


def _documents(instances: Sequence[Any]) -> int:
    return len({(instance.task_name, instance.doc_id) for instance in instances})


def _answered_documents(
    requests: Mapping[str, Sequence[Any]], keys: Mapping[str, Sequence[str]], store: ResponseStore
) -> int:
    """How many documents have all their answers in the store; like :func:`_documents`, counted by kind."""
    done = 0
    for kind, instances in requests.items():
        known = store.known(list(dict.fromkeys(keys[kind])))
        lacking = {
            (instance.task_name, instance.doc_id)
            for instance, key in zip(instances, keys[kind], strict=True)
            if key not in known
        }
        done += _documents(instances) - len(lacking)
    return done


def _say_unanswered(listener: ProgressListener, why: str) -> None:
    _LOG.info("some requests could not be answered: %s", why)
    listener.message(f"some requests could not be answered: {why}")


def _missing(batches: Sequence[Batch], store: ResponseStore) -> list[Batch]:
    """What the store lacks of each batch, with the first passes it has."""
    from medbench.models.harness.answers import first_pass_key

    if not len(store):
        return list(batches)
    left = []
    for batch in batches:
        known = store.get(batch.keys)
        rest = batch.only({key: None for key in batch.keys if key not in known}) if known else batch
        if rest.keys:
            left.append(replace(rest, kept=store.get([first_pass_key(key) for key in rest.keys])))
    return left


@contextmanager
def _pool(
    plan: RunPlan, options: WorkerOptions, listener: ProgressListener
) -> Iterator[tuple[WorkerPool, int, dict[str, Any]]]:
    """The workers, how many they are, and what to record of them."""
    from medbench.workers import ranks
    from medbench.workers.cluster import open_cluster

    gpu = plan.model.device.startswith("cuda")
    if options.gpus_per_worker > 1 and not gpu:
        raise WorkersError(
            f"the model runs on {plan.model.device}, which has no GPUs to spread it over",
            where="--gpus-per-worker",
            hint="--device cuda, or leave it out",
        )
    if ranks.launched():
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        threads = None if gpu else max(1, (os.cpu_count() or 1) // local)
        description = ranks.describe_ranks(threads)
        listener.message(f"loading {plan.model.model} on {description['workers']} ranks")
        with closing(ranks.RankPool(_spec(plan, threads=threads, per_machine=local))) as pool:
            yield pool, description["workers"], description
        return
    from medbench.workers.ray_pool import RayPool

    with open_cluster(options, gpu=gpu) as placement:
        spec = _spec(
            plan,
            threads=placement.cpus,
            per_machine=placement.per_machine,
            split=placement.gpus > 1,
        )
        listener.message(f"loading {plan.model.model} on {placement.workers} workers")
        with closing(RayPool(spec, placement)) as actors:
            yield actors, placement.workers, placement.describe()


def _spec(plan: RunPlan, *, threads: int | None, per_machine: int, split: bool = False) -> ReplicaSpec:
    from medbench.workers.replica import ReplicaSpec

    source = model_source(plan.model)
    if source.device.startswith("cuda"):
        source = replace(source, device="cuda")
    return ReplicaSpec(
        source,
        identity=plan.fingerprint["model"],
        max_batch_tokens=plan.token_budget,
        routing=plan.settings.routing,
        thinking=plan.protocol.reasoning(),
        add_bos_token=plan.settings.add_bos_token,
        threads=threads,
        per_machine=per_machine,
        split=split,
    )


def _look_for_routers(plan: RunPlan, listener: ProgressListener) -> None:
    # Tokens are recorded only where someone asked for them; routing of documents is what every run tries.
    if plan.settings.routing == "tokens":
        warn_without_routers(model_source(plan.model), listener.message)


def _open_model(
    plan: RunPlan, store: ResponseStore, listener: ProgressListener, stop: GracefulStop
) -> MedbenchLM:
    from medbench.models import MedbenchLM

    def after_batch(fraction: float, tokens: int) -> None:
        listener.advance(fraction, tokens)
        stop.check()

    listener.message(f"loading {plan.model.model}")
    source = model_source(plan.model)
    return MedbenchLM(
        model=source.model(),
        tokenizer=source.tokenizer(),
        max_batch_tokens=plan.token_budget,
        store=store,
        routing=plan.settings.routing,
        seed=plan.settings.seed,
        thinking=plan.protocol.reasoning(),
        add_bos_token=plan.settings.add_bos_token,
        progress=after_batch,
    )
