"""Whether an answer passes its step's validators: what the answer tells by itself first, then what must be asked of others."""

import asyncio
import random

from dispatch_app.execution import callables
from dispatch_app.execution.attempt import Answer
from dispatch_app.execution.attempts import Attempts
from dispatch_app.execution.calls import Delivery
from dispatch_app.execution.canonical import Reply, Request
from dispatch_app.execution.checks import check, finding
from dispatch_app.execution.confidence import TOP_LOGPROBS, asking_for_logprobs
from dispatch_app.execution.errors import DispatchError, UpstreamError
from dispatch_app.execution.judging import (
    Ballot,
    choosing_request,
    judge_candidate,
    rating_request,
    read_choice,
    read_score,
)
from dispatch_app.execution.ports import Finding, Target
from dispatch_app.execution.said import essence_of, text_of
from dispatch_app.execution.tasks import all_ended
from policies_app.routing.codes import AttemptRole, LogprobMeasure, Pick, Strategy
from policies_app.routing.types import Candidate, Facts, PlannedJudge
from policies_app.routing.validators import (
    CallableAccepts,
    JudgedAtLeast,
    JudgeReference,
    LogprobAtLeast,
    SamplesAgree,
    Validator,
)


class Validation:
    """Validates the answers of one dispatch. Samples and judges are attempts of their own, inside the same envelope."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._chance = random.Random(attempts.order.seed)  # noqa: S311 - an order nobody can foresee is enough

    def request_for(self, candidate: Candidate) -> Request:
        """The client's request, with what the candidate's validators need to see of the answer."""
        request, plan = self._attempts.order.request, self._attempts.order.plan
        measures = {
            validator.measure for validator in candidate.validators if isinstance(validator, LogprobAtLeast)
        }
        if plan.strategy is Strategy.PARALLEL and plan.pick is Pick.HIGHEST_CONFIDENCE:
            measures.add(LogprobMeasure.MEAN)
        if not measures:
            return request
        return asking_for_logprobs(request, rivals=TOP_LOGPROBS if LogprobMeasure.MARGIN in measures else 0)

    async def check(self, answer: Answer) -> tuple[Finding, ...]:
        """What the validators found, up to the first that did not pass; those that cost nothing go first."""
        reply = answer.reply
        if reply is None:
            return ()
        findings: list[Finding] = []
        for validator in sorted(answer.attempt.candidate.validators, key=_costs):
            found = await self._find(validator, answer, reply)
            findings.append(found)
            if not found.passed:
                break
        self._hide_logprobs(answer)
        return tuple(findings)

    async def choose(self, answers: list[Answer]) -> tuple[int | None, str]:
        """Which answer the plan's judge prefers, by place in the list; None with the reason if there is no verdict."""
        planned = self._planned(self._attempts.order.plan.judge)
        if planned is None:
            return None, "the judge cannot be asked"
        ballot: Ballot = choosing_request(
            planned.judge,
            conversation=self._conversation,
            answers=[_whole_text(answer.reply) for answer in answers],
            chance=self._chance,
        )
        said = await self._ask(planned, ballot.request)
        if said is None:
            return None, "the judge did not answer"
        place = read_choice(ballot, said)
        return place, "" if place is not None else "the judge's reply is no choice"

    async def _find(self, validator: Validator, answer: Answer, reply: Reply) -> Finding:
        match validator:
            case SamplesAgree():
                return await self._sample(validator, answer, reply)
            case JudgedAtLeast():
                return await self._judge(validator, reply)
            case CallableAccepts():
                return await self._call(validator, reply)
            case _:
                return check(validator, reply, request=self._attempts.order.request)

    async def _sample(self, validator: SamplesAgree, answer: Answer, reply: Reply) -> Finding:
        """Ask the same model for more answers, all at once."""
        tasks: set[asyncio.Task[str | None]] = set()
        async with all_ended(tasks):
            for _ in range(validator.samples - 1):
                tasks.add(asyncio.create_task(self._one_sample(answer)))
            samples = await asyncio.gather(*tasks)
        essence = essence_of(reply)
        agreeing = 1 + sum(sample == essence for sample in samples)
        missing = samples.count(None)
        actual = f"{agreeing} agree" + (f", {missing} could not be had" if missing else "")
        return finding(
            validator,
            passed=agreeing >= validator.at_least,
            actual=actual,
            score=agreeing / validator.samples,
        )

    async def _one_sample(self, answer: Answer) -> str | None:
        attempt = answer.attempt
        sample = await self._aside(attempt.target, role=AttemptRole.SAMPLE, request=attempt.request)
        return None if sample is None or sample.reply is None else essence_of(sample.reply)

    async def _judge(self, validator: JudgedAtLeast, reply: Reply) -> Finding:
        planned = self._planned(validator.judge)
        if planned is None:
            return finding(validator, passed=False, actual="the judge cannot be asked")
        judge = planned.judge
        request = rating_request(judge, conversation=self._conversation, answer=_whole_text(reply))
        said = await self._ask(planned, request)
        score = None if said is None else read_score(judge, said)
        actual = (
            f"it gives {score:.2f}" if score is not None else f"it gave no score, so {judge.default:g} counts"
        )
        score = judge.default if score is None else score
        return finding(validator, passed=score >= validator.at_least, actual=actual, score=score)

    async def _call(self, validator: CallableAccepts, reply: Reply) -> Finding:
        problem = ""
        for choice in reply.choices:
            problem = problem or await callables.run(
                validator.name,
                callables.Submission(
                    task=self._attempts.order.record.task,
                    text=text_of(choice),
                    message=choice.message,
                    finish_reason=choice.finish_reason,
                ),
            )
        return finding(validator, passed=not problem, actual=problem)

    async def _ask(self, planned: PlannedJudge, request: Request) -> str | None:
        candidate, facts = judge_candidate(planned, request=request, facts=self._attempts.order.facts)
        target = self._attempts.targets.beside(candidate)
        answer = await self._aside(target, role=AttemptRole.JUDGE, request=request, facts=facts)
        return None if answer is None or answer.reply is None else text_of(answer.reply.choices[0])

    async def _aside(
        self, target: Target, *, role: AttemptRole, request: Request, facts: Facts | None = None
    ) -> Answer | None:
        """One attempt whose failure is nobody's but its own."""
        try:
            attempt = await self._attempts.begin(
                target, role=role, request=request, facts=facts, is_aside=True
            )
        except DispatchError:
            return None
        if attempt is None:
            return None
        try:
            answer = await self._attempts.calls.make(attempt, delivery=Delivery.WHOLE)
        except UpstreamError as error:
            self._attempts.fail(attempt, error, is_aside=True)
            return None
        self._attempts.post(answer)
        return answer

    def _planned(self, reference: JudgeReference | None) -> PlannedJudge | None:
        judges = self._attempts.order.plan.judges
        return next((planned for planned in judges if planned.judge.reference == reference), None)

    @property
    def _conversation(self) -> list[object]:
        messages = self._attempts.order.request.fields.get("messages")
        return messages if isinstance(messages, list) else []

    def _hide_logprobs(self, answer: Answer) -> None:
        """The client gets log-probabilities only if it asked for them."""
        if answer.reply is None or self._attempts.order.request.fields.get("logprobs"):
            return
        for choice in answer.reply.choices:
            choice.logprobs = None
        for part in answer.parts:
            for step in part.choices:
                step.logprobs = None


def _costs(validator: Validator) -> int:
    """What is free goes first, then what runs here, then what calls models."""
    match validator:
        case CallableAccepts():
            return 1
        case SamplesAgree():
            return 2
        case JudgedAtLeast():
            return 3
        case _:
            return 0


def _whole_text(reply: Reply | None) -> str:
    return "\n\n".join(text_of(choice) for choice in reply.choices) if reply is not None else ""
