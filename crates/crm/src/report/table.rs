//! A report as CSV: its list, or its single values, one column each.

use super::Report;
use aisha_csv::cell;
use aisha_kernel::Error;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

type Row<'j> = BTreeMap<String, &'j RawValue>;

/// The CSV text of a report's answer.
///
/// # Errors
/// 500 when the answer has another shape than the report says.
pub fn report_csv(report: &Report, json: &str) -> Result<String, Error> {
    let whole: Row<'_> = serde_json::from_str(json).map_err(Error::internal)?;
    let rows: Vec<Row<'_>> = match report.rows {
        Some(list) => {
            let list = whole.get(list).ok_or_else(|| Error::internal("the report has no list"))?;
            serde_json::from_str(list.get()).map_err(Error::internal)?
        }
        None => vec![whole],
    };
    let mut out = report.columns.join(",");
    out.push_str("\r\n");
    for row in &rows {
        for (i, column) in report.columns.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            // Numbers are passed through as they stand, so that no amount is rounded.
            match row.get(*column).map(|v| v.get()) {
                None | Some("null") => {}
                Some(text) if text.starts_with('"') => {
                    cell::push(&mut out, &serde_json::from_str::<String>(text).map_err(Error::internal)?);
                }
                Some(text) => cell::push_quoted(&mut out, text),
            }
        }
        out.push_str("\r\n");
    }
    Ok(out)
}
