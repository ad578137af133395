"""One seed: a world, what goes wrong in it, and whether everything that must hold has held."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from uuid import UUID

from policies_app.routing.codes import KillScope
from tests.simulation.accounts import Accounts, Switch
from tests.simulation.audit import HEALING_S, Auditor, is_acceptable_after_healing
from tests.simulation.chance import Chance
from tests.simulation.clock import WallClock
from tests.simulation.fleet import Fault, Fleet, Temper
from tests.simulation.loop import DeadlockError, SimulatedLoop, elapse
from tests.simulation.process import WebProcess, World
from tests.simulation.requests import Visitor, draw_visitor
from tests.simulation.server import Server, Weather
from tests.simulation.setting import EPOCH, draw_setting, redraw_policy
from tests.simulation.trace import Trace

TROUBLE_S = 4.0
"""How long things go wrong; then everything heals."""
MOST_PATIENCE_S = 120.0
"""When everything has healed, every request ends within this time."""
NEWS_S = 0.25
"""How long an administrator's edit takes to reach a process."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What one seed came to. `problem` is empty if everything held."""

    seed: int
    problem: str
    digest: str
    events: int
    steps: int
    visitors: int
    successes: int
    calls: int
    strategies: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def simulate(seed: int, *, keeps_lines: bool = False) -> Outcome:
    """Run one seed. The same seed comes to the same outcome, in any process."""
    was_collecting = gc.isenabled()
    # Collected in between, it would end what nobody refers to any more at moments that no seed foretells.
    gc.disable()
    logging.disable(logging.ERROR)
    simulation = Simulation(seed, keeps_lines=keeps_lines)
    try:
        return simulation.run()
    finally:
        simulation.bury()
        logging.disable(logging.NOTSET)
        if was_collecting:
            gc.enable()


class Simulation:
    """One world in one loop."""

    def __init__(self, seed: int, *, keeps_lines: bool) -> None:
        self.seed = seed
        self.problem = ""
        self._is_buried = False
        self.loop = SimulatedLoop(Chance(seed, "order"))
        self.loop.set_exception_handler(self._on_exception)
        self.trace = Trace(time=lambda: self.loop.now, keeps_lines=keeps_lines)
        self.chance = Chance(seed, "trouble")
        self.setting = draw_setting(Chance(seed, "setting"))
        self.accounts = Accounts(time=self.loop.time)
        self.accounts.budgets = self.setting.budgets
        self.accounts.switches = self.setting.switches
        self.server = Server(
            accounts=self.accounts, loop=self.loop, chance=Chance(seed, "database"), trace=self.trace
        )
        self.fleet = Fleet(loop=self.loop, chance=Chance(seed, "fleet"))
        self.auditor = Auditor(
            accounts=self.accounts,
            server=self.server,
            fleet=self.fleet,
            trace=self.trace,
            time=self.loop.time,
            fail=self.fail,
        )
        numbers = count(1)
        self.world = World(
            loop=self.loop,
            server=self.server,
            upstream=self.fleet,
            chance=Chance(seed, "hesitation"),
            watch=self.auditor,
            new_id=lambda: UUID(int=(1 << 100) + next(numbers)),
            hesitation_share=self.chance.one_of(0.0, 0.0, 0.1),
        )
        self.sweeper_clock = WallClock(loop=self.loop, epoch=EPOCH)
        self.processes: list[WebProcess] = []
        self._process_numbers = count(1)
        self._visitor_numbers = count(1)
        self._visitor_chance = Chance(seed, "visitors")

    def run(self) -> Outcome:
        director = self.loop.create_task(self._direct())
        with suppress(RuntimeError):
            self._run_until_done(director)
        if (
            director.done()
            and not director.cancelled()
            and director.exception() is not None
            and not self.problem
        ):
            self.fail(f"the simulation itself failed: {director.exception()!r}")
        return self._outcome()

    def fail(self, problem: str) -> None:
        """Note the first problem and stop."""
        if not self.problem and not self._is_buried:
            self.problem = problem
            self.trace.note("auditor", "PROBLEM", problem)
            self.loop.stop()

    def bury(self) -> None:
        """End what still runs, unseen, so that nothing of it is left behind."""
        self.fleet.is_closed = True
        self._is_buried = True
        for process in self.processes:
            process.is_dead = False
            process.resumes_at = 0.0
        self.loop.set_exception_handler(lambda loop, context: None)
        self.loop.raise_the_dead()
        tasks = asyncio.all_tasks(self.loop)
        for _ in range(20):
            for task in tasks:
                task.cancel()
            # It is stopped at once if it ended in the very step in which a problem was found.
            with suppress(RuntimeError):
                self.loop.run_until_complete(asyncio.sleep(60.0))
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
        self.loop.close()

    def _run_until_done(self, director: "asyncio.Task[None]") -> None:
        try:
            self.loop.run_until_complete(director)
        except DeadlockError as error:
            self.fail(str(error))

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.fail(f"{context.get('message')}: {context.get('exception')!r}")

    def _outcome(self) -> Outcome:
        visitors = self.auditor.visitors.values()
        strategies: dict[str, int] = {}
        for visitor in visitors:
            if visitor.dispatch is not None:
                name = str(visitor.dispatch.order.plan.strategy)
                strategies[name] = strategies.get(name, 0) + 1
        return Outcome(
            seed=self.seed,
            problem=self.problem,
            digest=self.trace.digest,
            events=self.trace.events,
            steps=self.loop.steps,
            visitors=len(visitors),
            successes=sum(visitor.connection.is_success for visitor in visitors),
            calls=len(self.fleet.calls),
            strategies=strategies,
            lines=self.trace.lines,
        )

    async def _direct(self) -> None:
        for _ in range(self.chance.number(1, 3)):
            self._boot()
        self._draw_tempers()
        self._draw_bad_credentials()
        arrivals = self._schedule_visitors(
            self.chance.number(4, 12), within_s=self.chance.one_of(0.02, TROUBLE_S * 0.75)
        )
        troubles = Troubles(self).draw()
        await asyncio.gather(arrivals, *troubles)
        await self._heal()
        await self._until_all_are_answered()
        await self._serve_well()
        await self._stop_all()
        self._sweep_up()
        self.auditor.check_all(is_quiet=True)

    def _boot(self) -> WebProcess:
        clock = WallClock(loop=self.loop, epoch=EPOCH)
        name = f"web-{next(self._process_numbers)}"
        process = WebProcess(name, world=self.world, clock=clock, snapshot=self.setting.snapshot())
        self.processes.append(process)
        process.boot()
        return process

    @property
    def living(self) -> list[WebProcess]:
        return [process for process in self.processes if not process.is_dead and not process.is_stopping]

    def publish(self) -> None:
        """Tell every process of the setting as it is now; they hear of it one by one."""
        snapshot = self.setting.snapshot()
        for process in self.living:
            self.loop.call_outside(self.chance.random() * NEWS_S, process.learn, snapshot)

    async def _schedule_visitors(self, number: int, *, within_s: float) -> None:
        """Some come all at once, some one by one."""
        start = self._visitor_chance.random()
        moments = sorted(start + self._visitor_chance.random() * within_s for _ in range(number))
        for moment in moments:
            await elapse(max(0.0, moment - self.loop.now))
            self._let_in(is_patient=False)

    def _let_in(self, *, is_patient: bool, model: str | None = None) -> Visitor:
        visitor = draw_visitor(
            self._visitor_chance,
            number=next(self._visitor_numbers),
            setting=self.setting,
            arrives_at=self.loop.time(),
            is_patient=is_patient,
            model=model,
        )
        self.auditor.expect(visitor)
        process = self._visitor_chance.one_of(*self.living)
        self.trace.note("client", "asks", visitor.id.int & 0xFFFF, process.name, visitor.prompt.model)
        process.accept(visitor)
        return visitor

    def _draw_tempers(self) -> None:
        """How bad each vendor is: most of them seldom, some of them always."""
        chance = Chance(self.seed, "tempers")
        general = chance.one_of(0.0, 0.1, 0.4, 0.9)
        faults = tuple(chance.some_of(list(Fault), chance.one_of(0.15, 0.5, 1.0))) or (Fault.TRUNCATED,)
        for model in self.setting.catalogue.values():
            self.fleet.tempers[model.id] = Temper(
                fault_share=chance.one_of(0.0, general, general, 1.0),
                faults=faults,
                odd_report_share=chance.one_of(0.0, 0.0, 0.5),
                slowest_s=chance.one_of(0.02, 0.3, 3.0),
                bills_failures=chance.hits(0.3),
            )

    def _draw_bad_credentials(self) -> None:
        """Some that were withdrawn, or have no quota left."""
        chance = Chance(self.seed, "credentials")
        share = chance.one_of(0.0, 0.3, 0.9)
        for credentials in self.setting.credentials.values():
            for credential in credentials:
                if chance.hits(share):
                    self.fleet.bad_credentials[credential.id] = chance.one_of(
                        Fault.CREDENTIAL, Fault.QUOTA, Fault.RATE_LIMITED, Fault.RATE_LIMITED_UNTIL
                    )

    async def _heal(self) -> None:
        """From here on nothing goes wrong any more, and nothing stands in the way."""
        healthy_at = max([TROUBLE_S, *(process.resumes_at for process in self.living)])
        await asyncio.sleep(max(0.0, healthy_at - self.loop.time()))
        self.trace.note("world", "heals")
        self.server.heal()
        self.world.hesitation_share = 0.0
        self.fleet.bad_credentials.clear()
        for temper in self.fleet.tempers.values():
            temper.fault_share = temper.odd_report_share = 0.0
            temper.slowest_s = 0.002
            # A step may have no more than 100 ms, and a stream hundreds of parts.
            temper.pause_s = 0.0001
        for switch in self.setting.switches:
            self.accounts.lift(switch)
        for budget in self.setting.budgets.values():
            self.accounts.change_limit(budget, 10**15)
        if not self.living:
            self._boot()

    async def _until_all_are_answered(self) -> None:
        until = self.loop.time() + MOST_PATIENCE_S
        while waiting := [visitor for visitor in self.auditor.visitors.values() if not visitor.is_over]:
            if self.loop.time() > until:
                self.fail(f"{waiting[0].nonce} is not answered although everything has healed")
                return
            await asyncio.sleep(0.25)

    async def _serve_well(self) -> None:
        """Now that everything has healed, every policy gives answers again."""
        await asyncio.sleep(HEALING_S)
        for process in self.living:
            process.learn(self.setting.snapshot())
        for name in self.setting.policies:
            visitor = self._let_in(is_patient=True, model=name)
            await self._until_all_are_answered()
            if not is_acceptable_after_healing(visitor):
                word = visitor.connection.last_word
                self.fail(f"{visitor.nonce} of {name} gets {word!r} although everything has healed")

    async def _stop_all(self) -> None:
        for process in self.living:
            process.is_stopping = True
            await self.loop.start(process, process.drain(timeout_s=5.0))

    def _sweep_up(self) -> None:
        """Long after, all that nobody settled has expired."""
        at = max(process.clock.now() for process in self.processes)
        at = max(at, self.sweeper_clock.now())
        for hours in (1, 2, 3):
            self.accounts.expire(at + timedelta(hours=hours))
            self.accounts.drain()


class Troubles:
    """Draws what goes wrong in a world, and when."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._chance = simulation.chance
        self._loop = simulation.loop

    def draw(self) -> list[Awaitable[None]]:
        """The troubles of this seed: few kinds in most, so that each is also met alone."""
        chance = self._chance
        kinds: list[Callable[[], None]] = [
            self._kill_something,
            self._change_a_limit,
            self._publish,
            self._worsen_weather,
            self._go_down,
            self._stall,
            self._crash,
            self._stop,
            self._freeze,
            self._step_a_clock,
            self._sweep,
            self._drain,
            self._change_a_temper,
        ]
        chosen = chance.some_of(kinds, chance.one_of(0.15, 0.3, 0.7))
        return [
            self._at(chance.random() * TROUBLE_S, kind) for kind in chosen for _ in range(chance.number(1, 3))
        ]

    async def _at(self, moment: float, trouble: Callable[[], None]) -> None:
        await asyncio.sleep(moment)
        trouble()

    def _kill_something(self) -> None:
        simulation, chance = self._simulation, self._chance
        setting = simulation.setting
        scope = chance.one_of(*KillScope)
        subject: object = {
            KillScope.EVERYTHING: None,
            KillScope.PROVIDER: chance.number(1, 3),
            KillScope.MODEL: chance.number(1, len(setting.catalogue)),
            KillScope.POLICY: 1,
            KillScope.RULE: (1, "default"),
            KillScope.TENANT: chance.number(1, 2),
            KillScope.API_KEY: chance.number(1, 2),
            KillScope.END_USER: (chance.number(1, 2), chance.one_of("ann", "bob")),
        }[scope]
        switch = Switch(id=len(setting.switches) + 1, scope=scope, subject=subject)
        simulation.accounts.throw(switch)
        simulation.trace.note("admin", "kills", scope, subject)
        simulation.publish()
        self._loop.call_later(chance.span(0.01, 2.0), self._lift, switch)

    def _lift(self, switch: Switch) -> None:
        if not switch.is_lifted:
            self._simulation.accounts.lift(switch)
            self._simulation.trace.note("admin", "lifts", switch.id)
            self._simulation.publish()

    def _change_a_limit(self) -> None:
        simulation, chance = self._simulation, self._chance
        budget = chance.one_of(*simulation.setting.budgets.values())
        limit = int(budget.limit_nanos * chance.one_of(0, 0.3, 0.9, 2, 10))
        simulation.trace.note("admin", "limits", budget.id, limit)
        simulation.accounts.change_limit(budget, limit)
        simulation.publish()

    def _publish(self) -> None:
        simulation = self._simulation
        simulation.trace.note("admin", "publishes", redraw_policy(self._chance, simulation.setting))
        simulation.publish()

    def _worsen_weather(self) -> None:
        chance = self._chance
        self._simulation.server.worsen(
            Weather(broken_share=chance.one_of(0.0, 0.05, 0.3), most_s=chance.one_of(0.005, 0.05, 0.4)),
            for_s=TROUBLE_S,
        )

    def _go_down(self) -> None:
        self._simulation.server.go_down(self._chance.span(0.01, 2.0))

    def _stall(self) -> None:
        self._simulation.server.stall(self._chance.span(0.01, 2.0))

    def _crash(self) -> None:
        """Kill a process: none of its code runs any more."""
        simulation = self._simulation
        victim = self._victim()
        if victim is None:
            return
        simulation.trace.note(victim.name, "is killed")
        victim.die()
        simulation._boot()

    def _stop(self) -> None:
        """Stop a process in good order, with less time than some of its requests need."""
        simulation = self._simulation
        victim = self._victim()
        if victim is None:
            return
        simulation.trace.note(victim.name, "is stopped")
        simulation._boot()
        victim.is_stopping = True
        self._loop.start(victim, victim.drain(timeout_s=self._chance.span(0.01, 2.0)))

    def _freeze(self) -> None:
        victim = self._victim()
        if victim is None:
            return
        for_s = self._chance.one_of(0.05, 0.5, 3.0)
        self._simulation.trace.note(victim.name, "is frozen", for_s)
        victim.freeze(for_s)

    def _step_a_clock(self) -> None:
        clocks = [process.clock for process in self._simulation.living]
        clock = self._chance.one_of(self._simulation.sweeper_clock, *clocks)
        # The sweep trusts clocks to be within five minutes of one another.
        ahead_s = self._chance.one_of(-120.0, -2.0, 2.0, 30.0, 120.0)
        self._simulation.trace.note("world", "sets a clock ahead by", ahead_s)
        clock.set_ahead(ahead_s)

    def _sweep(self) -> None:
        simulation = self._simulation
        expired = simulation.accounts.expire(simulation.sweeper_clock.now())
        simulation.trace.note("sweeper", "expires", expired)
        simulation.auditor.check_all(is_quiet=False)

    def _drain(self) -> None:
        self._simulation.accounts.drain()

    def _change_a_temper(self) -> None:
        chance = self._chance
        temper = chance.one_of(*self._simulation.fleet.tempers.values())
        temper.fault_share = chance.one_of(0.0, 0.5, 1.0)

    def _victim(self) -> WebProcess | None:
        living = self._simulation.living
        return self._chance.one_of(*living) if living else None
