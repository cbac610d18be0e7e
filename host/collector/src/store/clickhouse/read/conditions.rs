//! Selections as conditions of SQL.

use crate::store::clickhouse::wire::quoted;
use crate::store::clickhouse::write::DAY;
use crate::store::month::MonthName;
use crate::store::selection::{Selection, TimeRange, WantedOwner};

/// The conditions on meter, resource and owner; each begins with AND.
pub(super) fn fields(selection: &Selection) -> String {
    let mut sql = String::new();
    let text = |sql: &mut String, column: &str, wanted: &Option<String>| {
        if let Some(wanted) = wanted {
            sql.push_str(&format!(" AND {column} = {}", quoted(wanted)));
        }
    };
    text(&mut sql, "meter", &selection.meter);
    text(&mut sql, "resource_id", &selection.resource);
    text(&mut sql, "source", &selection.source);
    for (column, wanted) in [("project_id", &selection.project), ("user_id", &selection.user)] {
        match wanted {
            Some(WantedOwner::Id(id)) => {
                sql.push_str(&format!(" AND {column} = {}", quoted(id)));
            }
            Some(WantedOwner::Nobody) => sql.push_str(&format!(" AND isNull({column})")),
            None => {}
        }
    }
    sql
}

/// The conditions on the times of samples: on their partitions, their place and themselves. They do not
/// begin with AND.
pub(super) fn times(range: TimeRange) -> String {
    let TimeRange { start, end } = range;
    format!(
        "{} AND day >= {} AND day <= {} AND time >= {start} AND time < {end}",
        months(range),
        day(start),
        day(end)
    )
}

/// The condition on the months of a range. It does not begin with AND.
pub(super) fn months(range: TimeRange) -> String {
    let [first, last] = [range.start, range.end].map(|time| MonthName::of(time.max(0)).number());
    format!("month >= {first} AND month <= {last}")
}

/// The number of a day, within those that a column has.
pub(super) fn day(time: i64) -> i64 {
    time.div_euclid(DAY).clamp(0, 65_535)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_become_conditions() {
        let selection = Selection {
            meter: Some("it's".into()),
            project: Some(WantedOwner::Nobody),
            user: Some(WantedOwner::Id("u".into())),
            ..Selection::default()
        };
        let expected = r" AND meter = 'it\'s' AND isNull(project_id) AND user_id = 'u'";
        assert_eq!(fields(&selection), expected);
        let all = times(TimeRange::default());
        assert!(all.starts_with("month >= 197001 AND month <= 255407 AND day >= 0"), "{all}");
        assert!(all.ends_with("time >= 0 AND time < 9223372036854775807"), "{all}");
    }
}
