use crate::{
    request::Request,
    status::Status,
    store::{Scope, Selection, field_selector, label_selector},
};

/// The parameters of a list or a watch.
pub(super) struct Query<'a>(pub(super) &'a Request);

impl Query<'_> {
    /// Absent if it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.query(name).filter(|value| !value.is_empty())
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        matches!(self.text(name), Some("true" | "1"))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Status> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let parsed = text.parse().map(Some);
        parsed.map_err(|_| Status::bad_request(format!("{name}: Invalid value: {text:?}: it is no number")))
    }

    pub(super) fn selection(&self, scope: Scope) -> Result<Selection, Status> {
        let labels = label_selector(self.text("labelSelector").unwrap_or_default());
        let fields = field_selector(self.text("fieldSelector").unwrap_or_default());
        Ok(Selection {
            scope,
            labels: labels.map_err(Status::bad_request)?,
            fields: fields.map_err(Status::bad_request)?,
        })
    }
}
