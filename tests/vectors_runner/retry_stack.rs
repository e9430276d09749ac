//! Scripted calls on the retry layer under tokio's paused clock, with or without a breaker below it.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use portcullis::{
    Circuit, CircuitBreakerLayer, Classify, Error, Event, Hint, Options, Outcome, RetryLayer,
    deadline,
};
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, util::Either};

use super::{
    Replay, Stop, number, only,
    retry::{Line, Plan, Seen, at, compare, line, script},
    skip, times, word,
};

/// Answers by the script, from its next line on.
#[derive(Clone)]
struct Scripted {
    script: Rc<RefCell<Vec<Line>>>,
    calls: Rc<RefCell<usize>>,
}

impl Service<()> for Scripted {
    type Response = Line;
    type Error = Error<Infallible>;
    type Future = Pin<Box<dyn Future<Output = Result<Line, Error<Infallible>>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let line = at(&self.script.borrow(), self.calls.replace_with(|calls| *calls + 1));
        Box::pin(async move {
            tokio::time::advance(line.took).await;
            Ok(line)
        })
    }
}

#[derive(Clone, Copy)]
struct ByLine {
    /// Whether a refusal says nothing of when to come back.
    mute: bool,
}

impl Classify<Line, Error<Infallible>> for ByLine {
    fn classify(&self, result: &Result<Line, Error<Infallible>>) -> Outcome {
        result.as_ref().map_or(Outcome::Ignored, |line| line.outcome)
    }

    fn hint(&self, result: &Result<Line, Error<Infallible>>) -> Option<Hint> {
        match result {
            Ok(line) => line.hint,
            Err(_) => self.mute.then_some(Hint::After(Duration::ZERO)),
        }
    }
}

/// Plays the steps on one stack. A call without a script of its own goes on in the scenario's.
pub(super) fn replay(plan: &Plan, lines: &[Line], steps: &[Value]) -> Replay {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without any input").block_on(play(plan, lines, steps))
}

async fn play(plan: &Plan, lines: &[Line], steps: &[Value]) -> Replay {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = || {
        let told = told.clone();
        Options::new().observer(move |event: &Event| told.lock().expect("whole").push(*event))
    };
    let retry = RetryLayer::with(plan.config.clone(), log()).expect("validated before");
    let (script_now, calls) = (Rc::new(RefCell::new(lines.to_vec())), Rc::new(RefCell::new(0)));
    let service = Scripted { script: script_now.clone(), calls: calls.clone() };
    let by_line = ByLine { mute: plan.mute };
    let mut circuit = None;
    let below = match &plan.breaker {
        None => Either::Right(service),
        Some(breaker) => match CircuitBreakerLayer::with(breaker.config.clone(), log()) {
            Err(error) => return skip(format!("configuration refused: {error}")),
            Ok(layer) => {
                circuit = Some(layer.circuit().clone());
                Either::Left(layer.classify_with(by_line).layer(service))
            }
        },
    };
    let mut stack = retry.classify_with(by_line).layer(below);
    let mut seen = Seen::default();
    for (nth, step) in steps.iter().enumerate() {
        for _ in 0..times(step)? {
            match word(step, "do", "a step")? {
                "call" | "execute" | "request" | "run" => {
                    only(step, "step", &["do", "script", "outcome", "took_ms", "times", "expect"])?;
                    let own = if step.get("outcome").is_some() {
                        let mut own = step.clone();
                        let members = own.as_object_mut().expect("a step");
                        for other in ["do", "times", "expect"] {
                            members.remove(other);
                        }
                        vec![line(&own)?]
                    } else {
                        script(&step["script"])?
                    };
                    if !own.is_empty() {
                        *script_now.borrow_mut() = own;
                        *calls.borrow_mut() = 0;
                    }
                    let (before, start) = (*calls.borrow(), portcullis::clock::tokio_now());
                    told.lock().expect("whole").clear();
                    let call = async { stack.ready().await?.call(()).await };
                    let answer = match plan.deadline {
                        None => call.await,
                        Some(after) => deadline::within(after, call).await,
                    };
                    let transitions = std::mem::take(&mut seen.transitions);
                    seen = Seen {
                        elapsed: portcullis::clock::tokio_now() - start,
                        service_calls: (*calls.borrow() - before) as u64,
                        refused: answer.is_err_and(|error| error.is_rejected()),
                        transitions,
                        ..Seen::default()
                    };
                }
                "advance" => {
                    tokio::time::advance(Duration::from_millis(number(step, "ms", "advance")?))
                        .await;
                }
                "command" => command(circuit.as_ref(), step)?,
                "check" => {}
                other => return skip(format!("unknown step `{other}`")),
            }
            take_notes(&mut seen, &mut told.lock().expect("whole"));
        }
        if let Some(circuit) = &circuit {
            let now = circuit.snapshot();
            seen.state = now.state.to_string();
            seen.counts = [now.calls, now.failures, now.successes, now.slow];
        }
        compare(&seen, &step["expect"]).map_err(|stop| match stop {
            Stop::Fail(what) if steps.len() > 1 => Stop::Fail(format!("step {nth}: {what}")),
            other => other,
        })?;
    }
    Ok(())
}

fn take_notes(seen: &mut Seen, told: &mut Vec<Event>) {
    for event in told.drain(..) {
        match event {
            Event::Retrying { delay, .. } => seen.delays.push(delay),
            Event::RetryEnded { attempts, end, .. } => {
                (seen.attempts, seen.end) = (attempts.into(), Some(end));
            }
            Event::Transition { transition, .. } => {
                seen.transitions.push(format!("{}>{}", transition.from, transition.to));
            }
            _ => {}
        }
    }
}

fn command(circuit: Option<&Circuit>, step: &Value) -> Replay {
    only(step, "step `command`", &["do", "name", "ms", "times", "expect"])?;
    let Some(circuit) = circuit else { return skip("a command without a breaker") };
    match word(step, "name", "a command")? {
        "open" => circuit.open(),
        "open_for" => circuit.open_for(Duration::from_millis(number(step, "ms", "open_for")?)),
        "half_open" => circuit.half_open(),
        "close" => circuit.close(),
        "force_open" => circuit.force_open(),
        "disable" => circuit.disable(),
        "reset" => circuit.reset(),
        other => return skip(format!("command:{other}")),
    }
    Ok(())
}
