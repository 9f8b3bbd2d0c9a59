//! What records and people may see of where a request goes: a credential that lies in it is masked, whoever's it is.

use control::target::Target;
use http::uri::PathAndQuery;

use super::Injector;
use crate::schemes::Surface;

impl Injector {
    /// The path as records may show it: where a credential lies in it, that part is masked, whoever's it is.
    pub fn shown_path(&self, target: &Target, path: &str) -> Option<String> {
        let auth = self.auth.as_ref()?;
        let (_, entry) = auth.entry_for(target)?;
        let Surface::Path(shape) = entry.scheme.surface() else { return None };
        let found = shape.find(path, &auth.own_dummies)?;
        Some([path.get(..found.range.start)?, "*", path.get(found.range.end..)?].concat())
    }

    /// Path and query as people may see them who are asked about a request: a credential that lies in the path, or in a
    /// parameter that is replaced or removed, is masked, whoever's it is.
    pub(crate) fn shown_target(&self, target: &Target, sent: &PathAndQuery) -> String {
        let path = self.shown_path(target, sent.path()).unwrap_or_else(|| sent.path().to_owned());
        let Some(query) = sent.query() else { return path };
        let surface = self.auth.as_ref().and_then(|auth| auth.entry_for(target));
        let surface = surface.map(|(_, entry)| entry.scheme.surface());
        let injected = if let Some(Surface::Query(name)) = surface { Some(name.as_str()) } else { None };
        let removed = self.auth.iter().flat_map(|auth| auth.remove_params.iter().copied());
        let names: Vec<&str> = removed.chain(injected).collect();
        let shown = query.split('&').map(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            let is_masked = names.iter().any(|own| own.eq_ignore_ascii_case(&decoded));
            if is_masked { format!("{name}=*") } else { pair.to_owned() }
        });
        format!("{path}?{}", shown.collect::<Vec<_>>().join("&"))
    }
}
