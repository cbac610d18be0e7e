//! Promotes a shadow: the component runs with its code from now on, and keeps its state.
//!
//! A promotion is a reload in which the component has other code, so that everything that holds for
//! reloads holds for it: the state is handed over, nothing is lost or doubled, and a failure leaves the
//! running transformers in place.

use std::sync::Arc;

use super::factory::TransformerKey;
use super::reload_request::{ReloadKind, ReloadReport};
use super::shadow_list::ShadowEntry;
use super::supervisor::{Cause, Supervisor, SupervisorChannels};
use nephometer_config::shadow_name;
use nephometer_pipeline::ShadowState;
use nephometer_telemetry::events::reload as events;

impl Supervisor {
    /// Does what a user requests.
    pub(super) async fn handle_request(
        &mut self,
        kind: ReloadKind,
        channels: &SupervisorChannels,
    ) -> ReloadReport {
        match kind {
            ReloadKind::Apply => self.reload_and_log(Cause::Requested, channels).await,
            ReloadKind::Plan => self.reload_and_log(Cause::Plan, channels).await,
            ReloadKind::Promote(component) => {
                let promoted = self.promote(&component, channels).await;
                promoted.unwrap_or_else(refused)
            }
            ReloadKind::Demote(component) => {
                self.demote(&component, channels).await.unwrap_or_else(refused)
            }
        }
    }

    async fn promote(
        &mut self,
        component: &str,
        channels: &SupervisorChannels,
    ) -> Result<ReloadReport, String> {
        let of_component = |one: &Arc<ShadowEntry>| *one.component == *component;
        for shadow in self.factory.shadows.all().into_iter().filter(of_component) {
            if let ShadowState::Stopped(reason) = shadow.report.progress().state {
                return Err(format!("the shadow of {component} does not run: {reason}"));
            }
        }
        let host = self.factory.components.with_spec(&self.spec.components).await;
        let before = self.promotions.add(component, &host, &self.spec).await?;
        let mut report = self.reload_and_log(Cause::Requested, channels).await;
        if self.runs_promoted(component) {
            let line = format!(
                "{component}: {} is promoted, also after a restart, until the configuration has \
                 another {component}",
                shadow_name(component)
            );
            report.changes.push(line);
        } else {
            self.promotions.set(component, before)?;
            let undone = self.reload_and_log(Cause::Requested, channels).await;
            report.changes.clear();
            report.problems.extend(undone.problems);
            report.problems.push(format!("{component}: its shadow is not promoted"));
        }
        self.promotions.tidy();
        Ok(report)
    }

    async fn demote(
        &mut self,
        component: &str,
        channels: &SupervisorChannels,
    ) -> Result<ReloadReport, String> {
        let before = self.promotions.set(component, None)?;
        let Some(promotion) = before else {
            return Err(format!("the shadow of {component:?} was not promoted"));
        };
        let mut report = self.reload_and_log(Cause::Requested, channels).await;
        if self.runs(component, promotion.content()) {
            self.promotions.set(component, Some(promotion))?;
            report.problems.push(format!("{component}: its shadow stays promoted"));
        }
        self.promotions.tidy();
        Ok(report)
    }

    /// A promoted component that failed and was rolled back is not tried again at the next start.
    pub(super) fn forget_promotions(&mut self, failed: &[TransformerKey]) {
        for key in failed {
            let component = &*key.identity.component;
            if self.promotions.content(component) == Some(&*hex::encode(key.identity.digest))
                && let Err(reason) = self.promotions.set(component, None)
            {
                events::refused(&reason);
            }
        }
    }

    /// Whether all transformers of this component run with the promoted code.
    fn runs_promoted(&self, component: &str) -> bool {
        let content = self.promotions.content(component);
        self.contents(component).all(|running| content == Some(&running))
    }

    /// Whether some transformer of this component runs with this code.
    fn runs(&self, component: &str, content: &str) -> bool {
        self.contents(component).any(|running| running == content)
    }

    /// The contents of the running transformers of a component, in hexadecimal digits.
    fn contents(&self, component: &str) -> impl Iterator<Item = String> {
        let running = self.running.values().flatten();
        let running = running.filter(move |key| *key.identity.component == *component);
        running.map(|key| hex::encode(key.identity.digest))
    }
}

fn refused(reason: String) -> ReloadReport {
    ReloadReport { problems: vec![reason], ..ReloadReport::default() }
}
