use nephometer_guest::{Answer, AnswerBuilder, Batch, Meter, MeterType, Resource, rows};

const TEN_DAYS: u64 = 10 * 86_400 * 1_000_000_000;

/// A right answer with one thing wrong; `None` if the mode is not about answers.
pub(crate) fn wrong(mode: &str, input: &Batch) -> Option<Answer> {
    let mut builder = AnswerBuilder::new(input);
    rows(input).for_each(|row| builder.pass(&row));
    let mut answer = builder.finish();
    match mode {
        "unequal-columns" => drop(answer.time.pop()),
        "bad-meter-index" => answer.meter.fill(1_000_000),
        "bad-resource-index" => answer.resource.fill(1_000_000),
        "bad-origin" => answer.origin.fill(1_000_000),
        "nan" => answer.volume.fill(f64::NAN),
        "infinity" => answer.volume.fill(f64::INFINITY),
        "time-zero" => answer.time.fill(0),
        "time-future" => answer.time.iter_mut().for_each(|time| *time += TEN_DAYS),
        "too-many-entries" => answer.meters = (0..100_000).map(|n| meter(n.to_string())).collect(),
        "huge-answer" => {
            answer.meters = (0..32).map(|_| meter("x".repeat(1 << 20))).collect();
        }
        "bad-metadata" => {
            answer.resources = vec![Resource {
                id: "misbehaving".to_owned(),
                source: "openstack".to_owned(),
                project_id: None,
                user_id: None,
                metadata: "{not JSON".to_owned(),
            }];
            answer.resource.fill(u32::try_from(input.resources.len()).unwrap_or(u32::MAX));
        }
        _ => return None,
    }
    Some(answer)
}

fn meter(name: String) -> Meter {
    Meter { name, unit: String::new(), type_: MeterType::Gauge }
}
