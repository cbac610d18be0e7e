//! What a publisher is, and how one becomes a component.

use crate::{Description, OptionError, Settings};

pub use crate::bindings::publisher::exports::nephometer::metering::publish::{
    Batch as DeliveryBatch, Delivery, Failure, Retry,
};

/// Sends batches somewhere.
pub trait Publisher: Sized {
    /// What the component tells about itself, whatever its options are.
    fn describe() -> Description;

    /// Makes the configured publisher. `options` are the parts of its URL merged with its own
    /// block, already checked against [`Description::options_schema`]; [`crate::UrlOptions`] reads
    /// them. What is wrong all the same is reported at once.
    fn configure(options: &serde_json::Value) -> Result<(Self, Settings), Vec<OptionError>>;

    /// Sends one envelope. `Ok` means that the receiver has it. The host queues, keeps the order
    /// and tries again; a publisher does neither.
    fn publish(&mut self, delivery: Delivery) -> Result<(), Failure>;
}

/// A failure that may pass, and the milliseconds to wait if the receiver named any; without them
/// the host chooses when to try again.
pub fn later(reason: impl Into<String>, after_ms: Option<u64>) -> Failure {
    Failure::Retryable(Retry { reason: reason.into(), after_ms })
}

/// Makes a [`Publisher`] that needs no network the component of this crate (on wasm; elsewhere it
/// does nothing).
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

/// What all worlds of publishers export. They have equal records under different names.
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
                let made = $crate::export::parse(&options)
                    .and_then(|options| <$type as $crate::Publisher>::configure(&options));
                let (made, one) = made.map_err(|errors| {
                    let each = errors.into_iter();
                    each.map(|one| $worlds::component::OptionError {
                        pointer: one.pointer,
                        reason: one.reason,
                    })
                    .collect::<Vec<_>>()
                })?;
                CONFIGURED.set(Some(made));
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
                let done = CONFIGURED.with_borrow_mut(|slot| match slot {
                    Some(made) => <$type as $crate::Publisher>::publish(made, delivery),
                    None => Err($crate::Failure::Broken($crate::export::NOT_CONFIGURED.to_owned())),
                });
                done.map_err(|failure| match failure {
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
