//! Every form of a fallback as a layer that lets errors pass, so that the contract is seen and not the policy.

use std::time::Duration;

use portcullis::{Error, Failed, FallbackConfig, FallbackPolicy, LastGood, LastGoodConfig};
use tower::ServiceBuilder;

use crate::{
    every_layer::{self, Calls, contract},
    support::{Answered, Ask, Fault, strict},
};

type Fails = Error<Fault>;

fn policy() -> FallbackPolicy {
    FallbackPolicy::new(FallbackConfig::new("contract")).expect("a valid config")
}

fn never(_: &Fails) -> bool {
    false
}

// A value must be `Clone`, which the strict service's response is not.
contract!(value, || {
    ServiceBuilder::new()
        .map_response(|_: u8| Answered)
        .layer(policy().value(0_u8).when(never))
        .map_response(|_: Answered| 1_u8)
        .into_inner()
});
contract!(function, || {
    policy().function(|failed: Failed<Answered, Fails>| failed.into_result()).when(never)
});
contract!(with_request, || {
    let decline = |_: u8, failed: Failed<Answered, Fails>| failed.into_result();
    policy().with_request(|ask: &Ask| ask.0, decline).when(never)
});
contract!(async_function, || {
    let decline = |failed: Failed<Answered, Fails>| async { failed.into_result() };
    policy().async_function(decline).when(never)
});
contract!(service, || policy().service(strict().0, |ask: &Ask| Ask(ask.0)).when(never));
contract!(last_good, || {
    let layer = LastGood::new(LastGoodConfig::new("contract", Duration::MAX))
        .expect("a valid config")
        .layer(|ask: &Ask| Some(ask.0));
    layer.keep(|_: &Answered| (), |(), _| Answered).when(never)
});
