//! HTML as text: what comes from outside is escaped, and elements close in order.

/// Text as it stands in HTML and SVG, attributes included.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// HTML that grows.
#[derive(Debug, Default)]
pub struct Html {
    text: String,
    open: Vec<&'static str>,
}

impl Html {
    /// Opens an element; `attributes` are HTML already.
    pub fn open(&mut self, element: &'static str, attributes: &str) {
        self.text.push('<');
        self.text.push_str(element);
        if !attributes.is_empty() {
            self.text.push(' ');
            self.text.push_str(attributes);
        }
        self.text.push('>');
        self.open.push(element);
    }

    /// Closes the element that was opened last.
    ///
    /// # Panics
    /// When none is open.
    pub fn close(&mut self) {
        let element = self.open.pop().expect("an element is open");
        self.text.push_str("</");
        self.text.push_str(element);
        self.text.push_str(">\n");
    }

    /// An element with text.
    pub fn element(&mut self, element: &'static str, attributes: &str, text: &str) {
        self.open(element, attributes);
        self.text.push_str(&escape(text));
        self.close();
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        self.text.push_str(&escape(text));
    }

    /// What is HTML already.
    pub fn raw(&mut self, html: &str) {
        self.text.push_str(html);
    }

    /// All of it.
    ///
    /// # Panics
    /// When an element is still open.
    pub fn finish(self) -> String {
        assert!(self.open.is_empty(), "{:?} are open", self.open);
        self.text
    }
}

/// Fails unless all elements are closed in order, and gives the text between them. Knows what this
/// program writes, not all of HTML.
#[cfg(test)]
pub fn check(html: &str) -> String {
    const EMPTY: &[&str] = &["meta", "br", "line", "rect", "circle", "polyline", "path"];
    let mut open: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        let (tag, behind) = after.split_once('>').expect("a tag ends");
        assert!(!tag.contains('<'), "{tag}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        rest = behind;
        if tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "before {behind:.60}");
            continue;
        }
        let name = tag.split([' ', '/']).next().expect("a tag has a name");
        if name == "style" {
            let (_, behind) = rest.split_once("</style>").expect("a style ends");
            rest = behind;
        } else if EMPTY.contains(&name) {
            assert!(tag.ends_with('/'), "{tag}");
        } else {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#39;", "'")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_stays_text() {
        let mut html = Html::default();
        html.open("p", "class=\"a\"");
        html.text("<script> & \"'");
        html.close();
        assert_eq!(
            html.finish(),
            "<p class=\"a\">&lt;script&gt; &amp; &quot;&#39;</p>\n"
        );
    }

    #[test]
    #[should_panic(expected = "open")]
    fn what_is_open_must_be_closed() {
        let mut html = Html::default();
        html.open("p", "");
        html.finish();
    }
}
