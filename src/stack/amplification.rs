//! How many calls one call may become.

use std::fmt;

use crate::plan::{BudgetFacts, Part};

/// How many calls of the service one call of the stack may cause, and how many in the long run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Amplification {
    /// At the most, for a single call that fails again and again; [`u64::MAX`] where nothing but time and
    /// budget limits its attempts.
    pub worst: u64,
    /// Calls of the service per call of the stack while every call fails, as far as budgets hold it
    /// down; besides what they allow a second. Infinite where nothing but time does.
    pub sustained: f64,
    /// Retries a second that budgets allow besides.
    pub per_second: f64,
}

/// A retry that retries.
#[derive(Clone, Copy)]
struct Retry {
    attempts: u32,
    budget: Option<BudgetFacts>,
}

impl Retry {
    /// How many retries a call may have.
    fn most(&self) -> f64 {
        f64::from(self.attempts) - 1.0
    }
}

impl Amplification {
    pub(super) fn of(parts: &[Part]) -> Self {
        let mut retries: Vec<Retry> = Vec::new();
        for part in parts.iter().filter(|part| part.retries()) {
            let Part::Retry { attempts, budget, nested, .. } = *part else { continue };
            // Inside another retry's attempt a retry makes one attempt, unless told otherwise.
            if retries.is_empty() || nested {
                retries.push(Retry { attempts, budget });
            }
        }
        let worst = retries.iter().fold(1, |worst: u64, retry| match retry.attempts {
            u32::MAX => u64::MAX,
            attempts => worst.saturating_mul(attempts.into()),
        });
        // Of one call a second without what budgets allow besides, and of that alone.
        let sustained = match flow(&retries, 1.0, |_| 0.0) {
            unbounded if unbounded >= f64::from(u32::MAX) => f64::INFINITY,
            calls => calls,
        };
        let besides = flow(&retries, 0.0, |budget| budget.per_second);
        // However it is spent, a token is one attempt of some retry.
        let tokens: f64 = budgets(&retries).map(|budget| budget.per_second).sum();
        Self { worst, sustained, per_second: besides.min(tokens * worst as f64) }
    }
}

/// Each budget once.
fn budgets(retries: &[Retry]) -> impl Iterator<Item = BudgetFacts> {
    retries.iter().enumerate().filter_map(|(at, retry)| {
        let budget = retry.budget?;
        let seen =
            retries[..at].iter().any(|other| other.budget.is_some_and(|b| b.id == budget.id));
        (!seen).then_some(budget)
    })
}

/// How many calls of the service become of so many calls of the stack, while all of them fail. A budget that
/// several retries share earns from what each of them sees, and what it has goes to the outermost of them,
/// where a token makes the most calls.
fn flow(retries: &[Retry], calls: f64, besides: impl Fn(BudgetFacts) -> f64) -> f64 {
    /// A call of an inner retry earns for an outer one, whose retries then are calls of the inner one: that
    /// settles, by a fifth of what is missing each time with usual numbers.
    const ROUNDS: u32 = 100;
    let mut sees = vec![calls; retries.len()];
    let mut all = calls;
    for _ in 0..ROUNDS {
        let earned = |budget: BudgetFacts| {
            let sharers = retries.iter().zip(&sees).filter(|(retry, _)| is(retry, budget));
            let alone = sharers.clone().count() == 1;
            let shares = sharers.map(|(retry, calls)| {
                // What a retry has no attempts for is there for another, if one shares the budget.
                let ratio = if alone { budget.ratio.min(retry.most()) } else { budget.ratio };
                ratio * calls
            });
            shares.sum::<f64>() + besides(budget)
        };
        let mut purses: Vec<(BudgetFacts, f64)> =
            budgets(retries).map(|budget| (budget, earned(budget))).collect();
        all = calls;
        for (retry, sees) in retries.iter().zip(&mut sees) {
            *sees = all;
            let purse = purses.iter_mut().find(|(budget, _)| is(retry, *budget));
            all += match purse {
                None => retry.most() * all,
                // What a budget allows besides is spent on calls that are not among these.
                Some((_, purse)) if calls == 0.0 => std::mem::take(purse),
                Some((_, purse)) => {
                    let paid = purse.min(retry.most() * all);
                    *purse -= paid;
                    paid
                }
            };
        }
    }
    all
}

fn is(retry: &Retry, budget: BudgetFacts) -> bool {
    retry.budget.is_some_and(|own| own.id == budget.id)
}

impl fmt::Display for Amplification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = |number: f64| (number * 100.0).round() / 100.0;
        match self.worst {
            1 => return f.write_str("one call is one call of the service"),
            u64::MAX => {
                f.write_str(
                    "one call may become as many calls of the service as there is time for",
                )?;
            }
            worst => write!(f, "one call may become {worst} calls of the service")?,
        }
        if self.sustained >= self.worst as f64 {
            return Ok(());
        }
        match rounded(self.sustained) {
            1.0 => f.write_str("; while all fail, budgets hold it to one call per call")?,
            calls => write!(f, "; while all fail, budgets hold it to {calls} calls per call")?,
        }
        if self.per_second > 0.0 {
            write!(f, " and {} more a second", rounded(self.per_second))?;
        }
        Ok(())
    }
}
