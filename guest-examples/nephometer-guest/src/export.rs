//! Connects a [`crate::Transformer`] with the exports of its world. The two worlds have equal
//! records under different names, so the macros convert them.

use std::sync::Once;

use crate::{
    Batch, Dictionary, OptionError, Outcome, Refusal, Samples, Settings, Transformer, log,
};

/// Logs the message of a panic before it ends the instance.
pub fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| log::error(&info.to_string())));
    });
}

/// Parses the options and configures the transformer.
pub fn configure<T: Transformer>(
    slot: &mut Option<T>,
    options: &str,
) -> Result<Settings, Vec<OptionError>> {
    let options = parse(options)?;
    let (transformer, settings) = T::configure(&options)?;
    *slot = Some(transformer);
    Ok(settings)
}

/// Parses the options.
pub fn parse(options: &str) -> Result<serde_json::Value, Vec<OptionError>> {
    serde_json::from_str(options).map_err(|error| {
        vec![OptionError { pointer: String::new(), reason: format!("not JSON: {error}") }]
    })
}

/// Calls the transformer.
pub fn transform<T: Transformer>(
    slot: &mut Option<T>,
    dictionary: &Dictionary,
    samples: &Samples,
) -> Result<Outcome, Refusal> {
    match slot {
        Some(transformer) => transformer.transform(&Batch { dictionary, samples }),
        None => Err(Refusal::Broken(NOT_CONFIGURED.to_owned())),
    }
}

/// The error of calls before `configure`.
pub const NOT_CONFIGURED: &str = "called before it was configured";

/// Exports a [`crate::Transformer`] as the component of this crate. Does nothing on targets other
/// than wasm.
#[macro_export]
macro_rules! export_transformer {
    ($type:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::stateless::exports::nephometer::metering as worlds;

            $crate::export_common!($type, worlds, stateless);

            // The two worlds have equal records under different names.
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

            fn samples(one: worlds::transform::Batch) -> $crate::Samples {
                $crate::Samples {
                    meter: one.meter,
                    resource: one.resource,
                    time: one.time,
                    monotonic: one.monotonic,
                    volume: one.volume,
                    exact: one.exact,
                    removed: one.removed,
                }
            }

            fn changes(one: worlds::dictionary::Changes) -> $crate::Changes {
                let meter = |one: worlds::dictionary::NumberedMeter| $crate::NumberedMeter {
                    number: one.number,
                    entry: one.entry,
                };
                let resource = |one: worlds::dictionary::NumberedResource| {
                    $crate::NumberedResource { number: one.number, entry: one.entry }
                };
                $crate::Changes {
                    forgotten_meters: one.forgotten_meters,
                    forgotten_resources: one.forgotten_resources,
                    meters: one.meters.into_iter().map(meter).collect(),
                    resources: one.resources.into_iter().map(resource).collect(),
                }
            }

            fn new_meter(one: $crate::NumberedMeter) -> worlds::dictionary::NumberedMeter {
                worlds::dictionary::NumberedMeter { number: one.number, entry: one.entry }
            }

            fn new_resource(one: $crate::NumberedResource) -> worlds::dictionary::NumberedResource {
                worlds::dictionary::NumberedResource { number: one.number, entry: one.entry }
            }

            $crate::bindings::stateless::export_stateless!(
                Component with_types_in $crate::bindings::stateless
            );
        };
    };
}

/// Exports a [`crate::Stateful`] transformer as the component of this crate. Does nothing on
/// targets other than wasm.
#[macro_export]
macro_rules! export_stateful_transformer {
    ($type:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use ::std::convert::{
                identity as refusal, identity as description, identity as settings,
                identity as option_error, identity as samples, identity as changes,
                identity as new_meter, identity as new_resource,
            };
            use $crate::bindings::stateful::exports::nephometer::metering as worlds;

            $crate::export_common!($type, worlds, stateful);

            impl worlds::stateful::Guest for Component {
                fn flush(
                    now: u64,
                ) -> Result<Option<worlds::transform::Answer>, worlds::transform::Refusal> {
                    CONFIGURED.with_borrow_mut(|slot| match slot {
                        Some(transformer) => DICTIONARY.with_borrow(|dictionary| {
                            let rows =
                                <$type as $crate::Stateful>::flush(transformer, dictionary, now)?;
                            Ok(rows.map(|rows| answer(dictionary, rows)))
                        }),
                        None => {
                            Err($crate::Refusal::Broken($crate::export::NOT_CONFIGURED.to_owned()))
                        }
                    })
                }

                fn save() -> Result<Vec<u8>, String> {
                    CONFIGURED.with_borrow(|slot| match slot {
                        Some(transformer) => <$type as $crate::Stateful>::save(transformer),
                        None => Err($crate::export::NOT_CONFIGURED.to_owned()),
                    })
                }

                fn restore(version: u32, state: Vec<u8>) -> Result<(), String> {
                    CONFIGURED.with_borrow_mut(|slot| match slot {
                        Some(transformer) => {
                            <$type as $crate::Stateful>::restore(transformer, version, &state)
                        }
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

/// The exports that both worlds have in common.
#[doc(hidden)]
#[macro_export]
macro_rules! export_common {
    ($type:ty, $worlds:ident, $world:ident) => {
        struct Component;

        ::std::thread_local! {
            static CONFIGURED: ::std::cell::RefCell<Option<$type>> =
                const { ::std::cell::RefCell::new(None) };
            static DICTIONARY: ::std::cell::RefCell<$crate::Dictionary> =
                ::std::cell::RefCell::default();
        }

        fn answer(
            dictionary: &$crate::Dictionary,
            rows: $crate::Answer,
        ) -> $worlds::transform::Answer {
            $worlds::transform::Answer {
                meters: dictionary.take_new_meters().into_iter().map(new_meter).collect(),
                resources: dictionary.take_new_resources().into_iter().map(new_resource).collect(),
                origin: rows.origin,
                meter: rows.meter,
                resource: rows.resource,
                time: rows.time,
                volume: rows.volume,
                exact: rows.exact,
            }
        }

        fn outcome(
            dictionary: &$crate::Dictionary,
            outcome: $crate::Outcome,
        ) -> $worlds::transform::Outcome {
            match outcome {
                $crate::Outcome::Unchanged => $worlds::transform::Outcome::Unchanged,
                $crate::Outcome::Keep(rows) => $worlds::transform::Outcome::Keep(rows),
                $crate::Outcome::Derive(derived) => {
                    $worlds::transform::Outcome::Derive($worlds::transform::Derived {
                        meters: dictionary.take_new_meters().into_iter().map(new_meter).collect(),
                        origin: derived.origin,
                        meter: derived.meter,
                        volume: derived.volume,
                        exact: derived.exact,
                    })
                }
                $crate::Outcome::Replace(rows) => {
                    $worlds::transform::Outcome::Replace(answer(dictionary, rows))
                }
            }
        }

        impl $worlds::dictionary::Guest for Component {
            fn learn(what: $worlds::dictionary::Changes) {
                DICTIONARY.with_borrow_mut(|dictionary| dictionary.learn(changes(what)));
            }
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
                input: $worlds::transform::Batch,
            ) -> Result<$worlds::transform::Outcome, $worlds::transform::Refusal> {
                let input = samples(input);
                CONFIGURED.with_borrow_mut(|slot| {
                    DICTIONARY.with_borrow(|dictionary| {
                        $crate::export::transform(slot, dictionary, &input)
                            .map(|result| outcome(dictionary, result))
                            .map_err(refusal)
                    })
                })
            }
        }
    };
}
