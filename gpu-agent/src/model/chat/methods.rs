//! Methods of Python's that templates call beside those of `minijinja_contrib::pycompat`.

use minijinja::{Error, ErrorKind, State, Value, value::from_args};

pub(super) fn call(
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.as_str().map(|text| of_text(text, method, args)) {
        Some(Err(error)) if error.kind() == ErrorKind::UnknownMethod => {}
        Some(answer) => return answer,
        None => {}
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let one = || from_args::<(&str,)>(args).map(|(part,)| part);
    let three = |found: Option<(&str, &str)>, otherwise: [&str; 3]| {
        let parts = found.map_or(Ok(otherwise), |(before, behind)| Ok([before, one()?, behind]));
        parts.map(|parts| parts.into_iter().map(Value::from).collect())
    };
    match method {
        "removeprefix" => Ok(text.strip_prefix(one()?).unwrap_or(text).into()),
        "removesuffix" => Ok(text.strip_suffix(one()?).unwrap_or(text).into()),
        "partition" => three(text.split_once(one()?), [text, "", ""]),
        "rpartition" => three(text.rsplit_once(one()?), ["", "", text]),
        "rsplit" => {
            let (separator, most): (&str, Option<usize>) = from_args(args)?;
            let most = most.map_or(usize::MAX, |most| most.saturating_add(1));
            let mut parts: Vec<&str> = text.rsplitn(most, separator).collect();
            parts.reverse();
            Ok(parts.into_iter().map(Value::from).collect())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}
