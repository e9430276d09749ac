//! Random calls, bodies, readers and commands, beside a model that is a list of calls.

use std::task::Poll;

use portcullis::{
    BulkheadConfig, BulkheadLayer, CircuitBreakerConfig, CircuitBreakerLayer, Command, Outcome,
    Window, http::hold::HeldBody,
};
use proptest::prelude::*;
use tower::{Service, ServiceBuilder};

use super::script::{
    Ask, Head, Says, Script, Server,
    Step::{self, Data, Pending, Trailers},
    poll,
};
use crate::support::panic_of;

#[derive(Clone, Debug)]
enum Op {
    Call(Ask),
    Poll(usize),
    Drop(usize),
    Command(Command),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = prop::sample::select(vec![Pending, Data("a"), Data("bcd")]);
    let last = prop::sample::select(vec![
        None,
        None,
        Some(Trailers("0")),
        Some(Trailers("14")),
        Some(Step::Error),
        Some(Step::Panic),
    ]);
    (prop::collection::vec(some, 0..4), last)
        .prop_map(|(steps, last)| steps.into_iter().chain(last).collect())
}

fn op() -> impl Strategy<Value = Op> {
    let says = prop::sample::select(vec![Says::Nothing, Says::End, Says::Length]);
    let head = prop::sample::select(vec![200, 200, 200, 404, 503]);
    let call = (steps(), says, head).prop_map(|(body, says, status)| {
        let head = Head::Is(http::StatusCode::from_u16(status).expect("a status"));
        Op::Call(Ask { head, says, body })
    });
    let command = prop::sample::select(vec![
        Command::Reset,
        Command::Disable,
        Command::Shadow,
        Command::Enable,
    ]);
    prop_oneof![
        4 => call,
        12 => any::<usize>().prop_map(Op::Poll),
        2 => any::<usize>().prop_map(Op::Drop),
        1 => command.prop_map(Op::Command),
    ]
}

/// A body that is out, as the model knows it.
struct Out {
    body: Box<dyn Reads>,
    rest: Vec<Step>,
    says: Says,
    head: Outcome,
    /// The period that it counts in, until it has ended.
    period: Option<u32>,
    /// Whether the bulkhead counts it.
    slot: bool,
    done: bool,
}

/// A body whose type is of no matter.
trait Reads {
    fn poll(&mut self);
}

type Body = HeldBody<HeldBody<Script, fn(&http::HeaderMap) -> Outcome>>;

impl Reads for Body {
    fn poll(&mut self) {
        let _ = super::script::frame(self);
    }
}

#[derive(Default)]
struct Model {
    period: u32,
    recording: bool,
    successes: u64,
    failures: u64,
}

impl Model {
    fn end(&mut self, out: &mut Out, outcome: Outcome) {
        out.slot = false;
        if out.period.take() == Some(self.period) && self.recording {
            match outcome {
                Outcome::Success => self.successes += 1,
                Outcome::Failure => self.failures += 1,
                Outcome::Ignored => {}
            }
        }
    }

    /// What one poll of it does.
    fn poll(&mut self, out: &mut Out) {
        if out.rest.is_empty() {
            out.done = true;
            return self.end(out, out.head);
        }
        match out.rest.remove(0) {
            Pending => {}
            Data(_) if out.rest.is_empty() && out.says == Says::End => self.end(out, out.head),
            Data(_) => {}
            Trailers(status) => {
                self.end(out, if status == "0" { Outcome::Success } else { Outcome::Failure });
            }
            Step::Error | Step::Panic => {
                out.done = true;
                self.end(out, Outcome::Failure);
            }
        }
    }

    fn drop(&mut self, out: &mut Out) {
        let left = out.rest.iter().any(|step| matches!(step, Data(_)));
        let whole = out.says == Says::Length && !left;
        // The announcement is looked at with the head and with each frame of data.
        self.end(out, if whole { out.head } else { Outcome::Ignored });
    }
}

fn judge<B, E>(result: &Result<http::Response<B>, E>) -> Outcome {
    match result.as_ref().map(|response| response.status().as_u16()) {
        Ok(200) => Outcome::Success,
        Ok(404) => Outcome::Ignored,
        _ => Outcome::Failure,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_call_is_counted_once_in_its_own_period(ops in prop::collection::vec(op(), 1..80)) {
        let config = CircuitBreakerConfig::new("db").no_failure_rate().failures(10_000);
        let config = config.window(Window::count(10_000));
        let breaker = CircuitBreakerLayer::new(config).expect("a valid config");
        let slots = BulkheadLayer::new(BulkheadConfig::new("db", 1_000)).expect("a valid config");
        let (circuit, bulkhead) = (breaker.circuit().clone(), slots.bulkhead().clone());
        let trailers: fn(&http::HeaderMap) -> Outcome = |trailers| {
            if trailers["grpc-status"] == "0" { Outcome::Success } else { Outcome::Failure }
        };
        let mut service = ServiceBuilder::new()
            .layer(slots.hold_body())
            .layer(breaker.classify(judge).hold_body().classify_trailers(trailers))
            .service(Server::default());
        let mut model = Model { recording: true, ..Model::default() };
        let mut out: Vec<Out> = Vec::new();

        for op in ops {
            match op {
                Op::Call(ask) => {
                    let Poll::Ready(Ok(response)) = poll(service.call(ask.clone())) else {
                        panic!("admitted")
                    };
                    let head = judge(&Ok::<_, ()>(response.map(|body| out.push(Out {
                        body: Box::new(body),
                        rest: ask.body.clone(),
                        says: ask.says,
                        head: Outcome::Ignored,
                        period: Some(model.period),
                        slot: true,
                        done: false,
                    }))));
                    let last = out.last_mut().expect("pushed");
                    last.head = head;
                    if ask.says == Says::End && ask.body.is_empty() {
                        model.end(last, head);
                    } else if head == Outcome::Failure {
                        model.end(last, head);
                        last.slot = true;
                    }
                }
                Op::Poll(at) if !out.is_empty() => {
                    let at = at % out.len();
                    let one = &mut out[at];
                    if one.done {
                        continue;
                    }
                    if one.rest.first() == Some(&Step::Panic) {
                        panic_of(|| one.body.poll());
                    } else {
                        one.body.poll();
                    }
                    model.poll(one);
                }
                Op::Drop(at) if !out.is_empty() => {
                    let at = at % out.len();
                    let mut one = out.swap_remove(at);
                    model.drop(&mut one);
                }
                Op::Poll(_) | Op::Drop(_) => {}
                Op::Command(command) => {
                    circuit.command(command);
                    let recording = command != Command::Disable;
                    model = Model { period: model.period + 1, recording, ..Model::default() };
                }
            }
            let now = circuit.snapshot();
            prop_assert_eq!((now.successes, now.failures), (model.successes, model.failures));
            prop_assert_eq!(bulkhead.in_flight(), out.iter().filter(|one| one.slot).count());
        }
        for mut one in out {
            model.drop(&mut one);
        }
        let now = circuit.snapshot();
        prop_assert_eq!((now.successes, now.failures), (model.successes, model.failures));
        prop_assert_eq!(bulkhead.in_flight(), 0);
    }
}
