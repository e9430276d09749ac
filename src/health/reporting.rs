//! [`Reporting`]: the one future of a report.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use pin_project_lite::pin_project;

use super::{
    DRAIN, HealthRegistry, OutOfService, PolicyCheck, Query, RESERVED, Report, STARTUP,
    check::Asked,
    flight::{Finding, Ticket},
    query::Probe,
    registry::{Entry, Shared},
    report::{Item, Status},
};
use crate::clock::{self, Timer};

/// One part of the report to be.
#[derive(Debug)]
enum Part {
    Asking(Asked, Ticket),
    Told(Item),
}

impl Part {
    /// Until when it will be told at the latest, if it is not yet.
    fn ask(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<(), Option<Instant>> {
        if let Self::Asking(check, ticket) = self {
            let finding = ticket.poll(now, cx)?;
            *self = Self::Told(told(check, &finding));
        }
        Ok(())
    }
}

fn told(check: &Asked, finding: &Arc<Finding>) -> Item {
    Item {
        name: Cow::Borrowed(check.name),
        component: check.component,
        status: finding.status,
        critical: check.critical,
        state: None,
        circuit: false,
        took: Some(finding.took),
        recorded: finding.recorded,
        output: finding.output.clone(),
    }
}

pin_project! {
    /// The future of [`HealthRegistry::report`]. Dropping it stops the runs that nobody else waits for, and
    /// takes nothing from those who do.
    #[must_use = "futures do nothing unless polled"]
    pub struct Reporting {
        shared: Arc<Shared>,
        query: Query,
        // Taken with the answer.
        parts: Option<Vec<Part>>,
        // Read when the checks have answered.
        policies: Vec<PolicyCheck>,
        unknown: Vec<String>,
        // One for all checks: the earliest that has to end.
        #[pin]
        timer: Timer,
    }
}

impl Reporting {
    pub(super) fn new(health: &HealthRegistry, query: Query) -> Self {
        let shared = Arc::clone(&health.shared);
        let (mut parts, mut policies, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        // What is not to be sent requests need not be asked for more.
        let is_told = query.only.is_none()
            && query.probe == Probe::Readiness
            && out_of_service(&shared, &query).is_some();
        if !is_told {
            let names = (query.names().next().is_some()).then(|| health.names(query.probe));
            let is_known = |name: &String| {
                // The registry's own cannot be left out, but have names. To be asked for alone they must be
                // part of the answer.
                let own = RESERVED.contains(&name.as_str());
                own && (query.only.is_none() || asks_for_part(query.probe, name))
                    || names.as_ref().is_some_and(|names| names.contains(name))
            };
            unknown.extend(query.names().filter(|name| !is_known(name)).cloned());
            let entries = health.entries();
            for entry in &entries {
                if let Entry::Check(check) = entry {
                    if check.asked_by(query.probe) && query.wants(check.name) {
                        let ticket = Ticket::new(Arc::clone(&check.flight));
                        parts.push(Part::Asking(check.clone(), ticket));
                    }
                }
            }
            if query.probe.asks_for_traffic() {
                policies = HealthRegistry::policies(&entries);
                policies.retain(|policy| query.wants(&policy.name()));
            }
        }
        Self { shared, query, parts: Some(parts), policies, unknown, timer: Timer::default() }
    }
}

/// Whether the registry's own part of that name belongs to the answer.
fn asks_for_part(probe: Probe, name: &str) -> bool {
    match name {
        DRAIN => probe.asks_for_traffic(),
        STARTUP => probe.asks_for_traffic() || probe == Probe::Startup,
        _ => false,
    }
}

/// Why the process is sent no requests, if the query is about that.
fn out_of_service(shared: &Shared, query: &Query) -> Option<OutOfService> {
    let starting = || shared.gate.has_started() == Some(false);
    let asked = |part| {
        let alone = query.only.as_ref().is_none_or(|only| only == part);
        alone && asks_for_part(query.probe, part)
    };
    if asked(DRAIN) && shared.drain.is_draining() {
        Some(OutOfService::Draining)
    } else if asked(STARTUP) && starting() {
        Some(OutOfService::Starting)
    } else {
        None
    }
}

impl Future for Reporting {
    type Output = Report;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        let mut this = self.project();
        // Without its parts it would answer that all is well.
        let Some(asked) = this.parts.as_mut() else {
            panic!("a report was polled after it had finished");
        };
        loop {
            let now = clock::tokio_now();
            let mut waits = false;
            let mut until: Option<Instant> = None;
            for part in &mut *asked {
                if let Err(deadline) = part.ask(now, cx) {
                    waits = true;
                    until = until.into_iter().chain(deadline).min();
                }
            }
            if !waits {
                break;
            }
            let Some(until) = until else { return Poll::Pending };
            if this.timer.as_mut().poll_until(until, cx).is_pending() {
                return Poll::Pending;
            }
        }
        let mut items: Vec<Item> = std::mem::take(asked)
            .into_iter()
            .filter_map(|part| match part {
                Part::Told(item) => Some(item),
                Part::Asking(..) => None,
            })
            .collect();
        *this.parts = None;
        items.extend(this.policies.iter().map(PolicyCheck::item));
        let out = out_of_service(this.shared, this.query);
        if let Some(out) = out {
            items.insert(0, gate(out));
        }
        let alone = this.query.only.is_some();
        let unknown = std::mem::take(this.unknown);
        Poll::Ready(Report::new(this.query.probe, alone, items, out, unknown))
    }
}

fn gate(out: OutOfService) -> Item {
    Item {
        name: Cow::Borrowed(out.part()),
        component: "system",
        status: Status::Fail,
        critical: true,
        state: Some(out.as_str()),
        circuit: false,
        took: None,
        recorded: clock::since_epoch(),
        output: Some(format!("the process is {out}")),
    }
}

impl fmt::Debug for Reporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporting")
            .field("query", &self.query)
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}
