//! One value out of Prometheus text, from a node that may be broken.

use std::collections::BTreeMap;

/// The value of the only series with this name and, at least, these labels.
///
/// # Errors
/// Why there is none: missing, given several times, or not a number.
pub(crate) fn find(
    text: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<f64, String> {
    let mut found = None;
    for line in text.lines() {
        let line = line.trim_start();
        let Some(rest) = line.strip_prefix(name) else { continue };
        let Some((own, value)) = series(rest) else { continue };
        if labels.iter().any(|(name, value)| own.get(name) != Some(value)) {
            continue;
        }
        if found.replace(value).is_some() {
            return Err(format!("{name} is given several times; name its labels"));
        }
    }
    let Some(value) = found else { return Err(format!("{name} is missing")) };
    match value.parse::<f64>() {
        Ok(number) if !number.is_nan() => Ok(number),
        _ => {
            Err(format!("{name} is `{}`, not a number", value.chars().take(40).collect::<String>()))
        }
    }
}

/// Labels and value of what follows a name; `None` when the name goes on, or the line is broken.
fn series(rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => read_labels(inside)?,
        None if rest.starts_with([' ', '\t']) => (BTreeMap::new(), rest),
        None => return None,
    };
    Some((labels, rest.split_whitespace().next()?))
}

fn read_labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim().to_owned(), value);
        rest = &quoted[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP lag How far\n# TYPE lag gauge\nlag 57\nlag_total 3\n\
        peers{direction=\"out\",zone=\"a } b\\\"\"} 4 1700000000000\npeers{direction=\"in\"} 9\n\
        odd NaN\nbroken{a=\"b\ntwice 1\ntwice 2\nword up\n";

    fn check(name: &str, labels: &[(&str, &str)], expected: Result<f64, &str>) {
        let labels = labels.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        assert_eq!(find(TEXT, name, &labels), expected.map_err(str::to_owned));
    }

    #[test]
    fn one_series_or_a_reason() {
        check("lag", &[], Ok(57.0));
        check("lag_total", &[], Ok(3.0));
        check("peers", &[("direction", "in")], Ok(9.0));
        check("peers", &[("zone", "a } b\"")], Ok(4.0));
        check("peers", &[], Err("peers is given several times; name its labels"));
        check("peers", &[("direction", "up")], Err("peers is missing"));
        check("la", &[], Err("la is missing"));
        check("broken", &[], Err("broken is missing"));
        check("twice", &[], Err("twice is given several times; name its labels"));
        check("odd", &[], Err("odd is `NaN`, not a number"));
        check("word", &[], Err("word is `up`, not a number"));
    }
}
