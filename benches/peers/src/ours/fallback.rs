//! The fallback.

use portcullis::{ErrorLayer, FallbackConfig, FallbackPolicy};
use tower_layer::Layer as _;

use super::OURS;
use crate::{
    Subject,
    panel::Panel,
    service::{AtOnce, Errors, layer},
};

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    vec![Subject::new(
        "ours-fallback",
        OURS,
        Panel::Fallback,
        "a value; clones of one service, over `ErrorLayer`",
        || {
            let fallback = FallbackPolicy::new(FallbackConfig::new("peer"));
            let answered = fallback.expect("a valid configuration").value(7);
            layer(Errors::Never, answered.layer(ErrorLayer::new().layer(AtOnce)))
        },
    )]
}
