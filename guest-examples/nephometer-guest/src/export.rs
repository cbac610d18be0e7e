//! The bridge from [`crate::Transformer`] to what the two worlds export.

use std::sync::Once;

use crate::{Batch, OptionError, Outcome, Refusal, Settings, Transformer, log};

/// Has the reason of a panic logged before it ends the instance.
pub fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| log::error(&info.to_string())));
    });
}

/// Parses the options and configures.
pub fn configure<T: Transformer>(
    slot: &mut Option<T>,
    options: &str,
) -> Result<Settings, Vec<OptionError>> {
    let options = parse(options)?;
    let (made, settings) = T::configure(&options)?;
    *slot = Some(made);
    Ok(settings)
}

/// The options as a value.
pub fn parse(options: &str) -> Result<serde_json::Value, Vec<OptionError>> {
    serde_json::from_str(options).map_err(|error| {
        vec![OptionError { pointer: String::new(), reason: format!("not JSON: {error}") }]
    })
}

/// Hands a batch over.
pub fn transform<T: Transformer>(slot: &mut Option<T>, input: &Batch) -> Result<Outcome, Refusal> {
    match slot {
        Some(made) => made.transform(input),
        None => Err(Refusal::Broken(NOT_CONFIGURED.to_owned())),
    }
}

/// What calls before `configure` get to hear.
pub const NOT_CONFIGURED: &str = "called before it was configured";

/// Makes a [`crate::Transformer`] the component of this crate (on wasm; elsewhere it does nothing).
#[macro_export]
macro_rules! export_transformer {
    ($type:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::stateless::exports::nephometer::metering as worlds;

            $crate::export_common!($type, worlds, stateless);

            /// The two worlds have equal records under different names.
            fn outcome(outcome: $crate::Outcome) -> worlds::transform::Outcome {
                match outcome {
                    $crate::Outcome::Unchanged => worlds::transform::Outcome::Unchanged,
                    $crate::Outcome::Keep(rows) => worlds::transform::Outcome::Keep(rows),
                    $crate::Outcome::Replace(answer) => {
                        worlds::transform::Outcome::Replace(worlds::transform::Answer {
                            meters: answer.meters,
                            resources: answer.resources,
                            origin: answer.origin,
                            meter: answer.meter,
                            resource: answer.resource,
                            time: answer.time,
                            volume: answer.volume,
                        })
                    }
                }
            }

            fn refusal(refusal: $crate::Refusal) -> worlds::transform::Refusal {
                match refusal {
                    $crate::Refusal::Rejected(reason) => {
                        worlds::transform::Refusal::Rejected(reason)
                    }
                    $crate::Refusal::Broken(reason) => worlds::transform::Refusal::Broken(reason),
                }
            }

            fn description(one: $crate::Description) -> worlds::component::Description {
                worlds::component::Description {
                    name: one.name,
                    version: one.version,
                    summary: one.summary,
                    options_schema: one.options_schema,
                    state_version: one.state_version,
                    facts: one.facts,
                }
            }

            fn settings(one: $crate::Settings) -> worlds::component::Settings {
                worlds::component::Settings {
                    meters: one.meters,
                    metadata: one.metadata,
                    texts: match one.texts {
                        $crate::TextForm::None => worlds::component::TextForm::None,
                        $crate::TextForm::Samples => worlds::component::TextForm::Samples,
                        $crate::TextForm::Messages => worlds::component::TextForm::Messages,
                    },
                    facts: one.facts,
                }
            }

            fn option_error(one: $crate::OptionError) -> worlds::component::OptionError {
                worlds::component::OptionError { pointer: one.pointer, reason: one.reason }
            }

            $crate::bindings::stateless::export_stateless!(
                Component with_types_in $crate::bindings::stateless
            );
        };
    };
}

/// Makes a [`crate::Stateful`] the component of this crate (on wasm; elsewhere it does nothing).
#[macro_export]
macro_rules! export_stateful_transformer {
    ($type:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use ::std::convert::{
                identity as outcome, identity as refusal, identity as description,
                identity as settings, identity as option_error,
            };
            use $crate::bindings::stateful::exports::nephometer::metering as worlds;

            $crate::export_common!($type, worlds, stateful);

            impl worlds::stateful::Guest for Component {
                fn flush(now: u64) -> Result<Option<$crate::Answer>, $crate::Refusal> {
                    CONFIGURED.with_borrow_mut(|slot| match slot {
                        Some(made) => <$type as $crate::Stateful>::flush(made, now),
                        None => {
                            Err($crate::Refusal::Broken($crate::export::NOT_CONFIGURED.to_owned()))
                        }
                    })
                }

                fn save() -> Result<Vec<u8>, String> {
                    CONFIGURED.with_borrow(|slot| match slot {
                        Some(made) => <$type as $crate::Stateful>::save(made),
                        None => Err($crate::export::NOT_CONFIGURED.to_owned()),
                    })
                }

                fn restore(version: u32, state: Vec<u8>) -> Result<(), String> {
                    CONFIGURED.with_borrow_mut(|slot| match slot {
                        Some(made) => <$type as $crate::Stateful>::restore(made, version, &state),
                        None => Err($crate::export::NOT_CONFIGURED.to_owned()),
                    })
                }
            }

            $crate::bindings::stateful::export_stateful!(
                Component with_types_in $crate::bindings::stateful
            );
        };
    };
}

/// What both worlds export.
#[doc(hidden)]
#[macro_export]
macro_rules! export_common {
    ($type:ty, $worlds:ident, $world:ident) => {
        struct Component;

        ::std::thread_local! {
            static CONFIGURED: ::std::cell::RefCell<Option<$type>> =
                const { ::std::cell::RefCell::new(None) };
        }

        impl $worlds::component::Guest for Component {
            fn describe() -> $worlds::component::Description {
                $crate::export::log_panics();
                description(<$type as $crate::Transformer>::describe())
            }

            fn configure(
                options: String,
            ) -> Result<$worlds::component::Settings, Vec<$worlds::component::OptionError>> {
                $crate::export::log_panics();
                CONFIGURED
                    .with_borrow_mut(|slot| $crate::export::configure(slot, &options))
                    .map(settings)
                    .map_err(|errors| errors.into_iter().map(option_error).collect())
            }
        }

        impl $worlds::transform::Guest for Component {
            fn transform(
                input: $crate::Batch,
            ) -> Result<$worlds::transform::Outcome, $worlds::transform::Refusal> {
                CONFIGURED
                    .with_borrow_mut(|slot| $crate::export::transform(slot, &input))
                    .map(outcome)
                    .map_err(refusal)
            }
        }
    };
}
