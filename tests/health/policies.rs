//! Policies as parts of readiness.

use portcullis::{
    Bulkhead, BulkheadConfig, Circuit, CircuitBreakerConfig, HalfOpen, Outcome, RateLimitConfig,
    RateLimiter, Registry, Sleep, State,
    health::{HealthRegistry, PolicyCheck, Probe, Query, Status},
};
use tokio::time::advance;

use super::SECOND;

const NAME: &str = "payments:circuit_breaker";

fn circuit() -> Circuit {
    let config = CircuitBreakerConfig::new("payments")
        .consecutive_failures(1)
        .sleep(Sleep::fixed(10 * SECOND))
        .half_open(HalfOpen::counts(2, 1));
    Circuit::new(config).expect("a valid config")
}

fn settle(circuit: &Circuit, outcome: Outcome) {
    circuit.try_acquire().expect("it admits").settle(outcome);
}

async fn status(health: &HealthRegistry, probe: Probe) -> Status {
    health.report(probe).await.status()
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_warns_and_stays_ready() {
    let (health, circuit) = (HealthRegistry::new(), circuit());
    health.add_policy(PolicyCheck::of(&circuit)).expect("a new policy");
    assert_eq!(status(&health, Probe::Readiness).await, Status::Pass);
    settle(&circuit, Outcome::Failure);
    assert_eq!(circuit.state(), State::Open);
    let report = health.report(Probe::Readiness).await;
    assert_eq!((report.status(), report.is_ok()), (Status::Warn, true));
    let [item] = report.items() else { panic!("{report:?}") };
    assert_eq!((item.name(), item.state(), item.is_critical()), (NAME, Some("open"), false));
    assert_eq!(item.output(), Some(circuit.explain().to_string().as_str()));
    assert_eq!(item.took(), None);
    // A process is not mended by a restart when its dependency is away.
    assert_eq!(health.report(Probe::Liveness).await.items(), []);
    // Alone, too, it only warns.
    assert!(health.report(Query::new(Probe::Readiness).only(NAME)).await.is_ok());
}

/// Without calls nothing would ever close it: so it is ready again as soon as a call would be a probe.
#[tokio::test(start_paused = true)]
async fn told_to_it_fails_readiness_until_it_would_send_probes() {
    let (health, circuit) = (HealthRegistry::new(), circuit());
    let check = PolicyCheck::of(&circuit).fail_readiness_when_open();
    health.add_policy(check).expect("a new policy");
    assert_eq!(status(&health, Probe::Readiness).await, Status::Pass);
    settle(&circuit, Outcome::Failure);
    assert_eq!(status(&health, Probe::Readiness).await, Status::Fail);
    assert_eq!(status(&health, Probe::Overall).await, Status::Fail);
    assert_eq!(status(&health, Probe::Liveness).await, Status::Pass);
    let without = Query::new(Probe::Readiness).exclude(NAME);
    assert_eq!(health.report(without).await.status(), Status::Pass);

    advance(10 * SECOND - super::MS).await;
    assert_eq!(status(&health, Probe::Readiness).await, Status::Fail);
    advance(super::MS).await;
    // No call was made: reading moved nothing.
    assert_eq!(circuit.state(), State::Open);
    assert_eq!(status(&health, Probe::Readiness).await, Status::Warn);

    // While all its probes are out it refuses, for as long as they take.
    let (one, two) =
        (circuit.try_acquire().expect("a probe"), circuit.try_acquire().expect("another"));
    assert_eq!((circuit.state(), circuit.explain().admits), (State::HalfOpen, false));
    assert_eq!(status(&health, Probe::Readiness).await, Status::Warn);
    one.settle(Outcome::Success);
    assert_eq!(status(&health, Probe::Readiness).await, Status::Warn);
    two.settle(Outcome::Success);
    assert_eq!(status(&health, Probe::Readiness).await, Status::Pass);

    circuit.force_open();
    assert_eq!(status(&health, Probe::Readiness).await, Status::Fail);
    circuit.disable();
    assert_eq!(status(&health, Probe::Readiness).await, Status::Pass);
    circuit.shadow();
    settle(&circuit, Outcome::Failure);
    let report = health.report(Probe::Readiness).await;
    assert_eq!((report.status(), report.items()[0].state()), (Status::Pass, Some("open")));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_refuses_does_its_work() {
    let health = HealthRegistry::new();
    let bulkhead = Bulkhead::new(BulkheadConfig::new("db", 1)).expect("a valid config");
    let limiter = RateLimiter::new(RateLimitConfig::per_second("api", 1)).expect("a valid config");
    health.add_policy(PolicyCheck::of(&bulkhead)).expect("a new policy");
    health.add_policy(PolicyCheck::of(&limiter)).expect("a new policy");
    let _held = bulkhead.try_acquire().expect("a slot");
    limiter.try_acquire().expect("a token");
    let report = health.report(Probe::Readiness).await;
    let found: Vec<_> = report.items().iter().map(|item| (item.name(), item.status())).collect();
    assert_eq!(found, [("db:bulkhead", Status::Pass), ("api:rate_limit", Status::Pass)]);

    let told = PolicyCheck::of(&bulkhead).fail_readiness_when_open();
    let error = HealthRegistry::new().add_policy(told).expect_err("no circuit");
    assert_eq!((error.field(), error.value()), ("fail_readiness_when_open", "bulkhead"));
    let error = health.add_policy(PolicyCheck::of(&bulkhead)).expect_err("it is there");
    assert_eq!((error.field(), error.value()), ("name", "db:bulkhead"));
}

#[tokio::test(start_paused = true)]
async fn a_registry_of_policies_is_read_when_a_probe_comes() {
    let (health, policies) = (HealthRegistry::new(), Registry::new());
    health.add_policies(&policies);
    assert_eq!(health.names(Probe::Readiness), [""; 0]);
    let circuit = circuit();
    policies.add(&circuit).expect("a new name");
    settle(&circuit, Outcome::Failure);
    assert_eq!(health.names(Probe::Readiness), [NAME]);
    assert_eq!(status(&health, Probe::Readiness).await, Status::Warn);
    // Added by itself it counts once, and as it was told.
    let told = PolicyCheck::of(&circuit).fail_readiness_when_open();
    health.add_policy(told).expect("new here");
    assert_eq!(health.names(Probe::Readiness), [NAME]);
    assert_eq!(status(&health, Probe::Readiness).await, Status::Fail);
}
