//! The trait of publishers, and the macros that export one as a component.

use crate::{Description, OptionError, Settings};

pub use crate::bindings::publisher::exports::nephometer::metering::publish::{
    Batch as DeliveryBatch, Delivery, Failure, Retry,
};

/// Publishes envelopes of samples.
pub trait Publisher: Sized {
    /// What the component reports about itself, whatever its options are.
    fn describe() -> Description;

    /// Builds the configured publisher. `options` are the parts of its URL merged with its own
    /// block, which the host has checked against [`Description::options_schema`].
    /// [`crate::UrlOptions`] reads them.
    ///
    /// # Errors
    /// All errors in the options at once.
    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>>;

    /// Sends one envelope. `Ok` acknowledges it: the receiver has it. The host queues, keeps the
    /// order and retries; a publisher does none of these.
    ///
    /// # Errors
    /// Whether the envelope is retried, rejected, or kept with all others until an operator acts.
    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure>;
}

/// A retryable failure. `after_ms` is the delay that the receiver requested, in milliseconds; the
/// host chooses one if it is `None`.
pub fn later(reason: impl Into<String>, after_ms: Option<u64>) -> Failure {
    Failure::Retryable(Retry { reason: reason.into(), after_ms })
}

/// Exports a [`Publisher`] without network access as the component of this crate. Does nothing on
/// targets other than wasm.
#[macro_export]
macro_rules! export_publisher {
    ($type:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::publisher::exports::nephometer::metering as worlds;

            $crate::export_publisher_common!($type, worlds);

            $crate::bindings::publisher::export_publisher_world!(
                Component with_types_in $crate::bindings::publisher
            );
        };
    };
}

/// The exports of all worlds of publishers, which have equal records under different names.
#[doc(hidden)]
#[macro_export]
macro_rules! export_publisher_common {
    ($type:ty, $worlds:ident) => {
        struct Component;

        ::std::thread_local! {
            static CONFIGURED: ::std::cell::RefCell<Option<$type>> =
                const { ::std::cell::RefCell::new(None) };
        }

        impl $worlds::component::Guest for Component {
            fn describe() -> $worlds::component::Description {
                $crate::export::log_panics();
                let one = <$type as $crate::Publisher>::describe();
                $worlds::component::Description {
                    name: one.name,
                    version: one.version,
                    summary: one.summary,
                    options_schema: one.options_schema,
                    state_version: one.state_version,
                    facts: one.facts,
                }
            }

            fn configure(
                options: String,
            ) -> Result<$worlds::component::Settings, Vec<$worlds::component::OptionError>> {
                $crate::export::log_panics();
                let configured = $crate::export::parse(&options)
                    .and_then(|options| <$type as $crate::Publisher>::configure(&options));
                let (publisher, one) = configured.map_err(|errors| {
                    let each = errors.into_iter();
                    each.map(|one| $worlds::component::OptionError {
                        pointer: one.pointer,
                        reason: one.reason,
                    })
                    .collect::<Vec<_>>()
                })?;
                CONFIGURED.set(Some(publisher));
                Ok($worlds::component::Settings {
                    meters: one.meters,
                    metadata: one.metadata,
                    texts: match one.texts {
                        $crate::TextForm::None => $worlds::component::TextForm::None,
                        $crate::TextForm::Samples => $worlds::component::TextForm::Samples,
                        $crate::TextForm::Messages => $worlds::component::TextForm::Messages,
                    },
                    facts: one.facts,
                })
            }
        }

        impl $worlds::publish::Guest for Component {
            fn publish(what: $worlds::publish::Delivery) -> Result<(), $worlds::publish::Failure> {
                let delivery = $crate::Delivery {
                    id: what.id,
                    attempt: what.attempt,
                    input: $crate::DeliveryBatch {
                        meters: what.input.meters,
                        resources: what.input.resources,
                        meter: what.input.meter,
                        resource: what.input.resource,
                        time: what.input.time,
                        monotonic: what.input.monotonic,
                        volume: what.input.volume,
                        exact: what.input.exact,
                        removed: what.input.removed,
                    },
                    texts: what.texts,
                };
                let result = CONFIGURED.with_borrow_mut(|slot| match slot {
                    Some(publisher) => <$type as $crate::Publisher>::publish(publisher, delivery),
                    None => Err($crate::Failure::Broken($crate::export::NOT_CONFIGURED.to_owned())),
                });
                result.map_err(|failure| match failure {
                    $crate::Failure::Retryable(one) => {
                        $worlds::publish::Failure::Retryable($worlds::publish::Retry {
                            reason: one.reason,
                            after_ms: one.after_ms,
                        })
                    }
                    $crate::Failure::Permanent(reason) => {
                        $worlds::publish::Failure::Permanent(reason)
                    }
                    $crate::Failure::Broken(reason) => $worlds::publish::Failure::Broken(reason),
                })
            }
        }
    };
}
