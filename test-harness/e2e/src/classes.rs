//! The users of `istio/claim-headers`, and what clients try in order to be taken for others.

/// The workload that answers premium users, and everyone else's: subsets of `style-transfer`.
pub const SUBSETS: [&str; 2] = ["tensorflow", "pytorch"];

/// A kind of user: what the claim `user_type` makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// What tests call the user.
    pub name: &'static str,
    /// The subset that answers.
    pub subset: &'static str,
    /// `user_class` behind the filter.
    pub class: Option<&'static str>,
}

/// Users with a token that is right. The last one's type is not a class.
pub const USERS: [User; 3] = [
    User { name: "premium", subset: SUBSETS[0], class: Some("premium") },
    User { name: "basic", subset: SUBSETS[1], class: Some("basic") },
    User { name: "unknown_type", subset: SUBSETS[1], class: None },
];

/// Headers with which clients claim a class, in every spelling that a server may read as `user_class`.
/// `eyJ1c2VyX3R5cGUiOiJwcmVtaXVtIn0` is `{"user_type":"premium"}`.
pub const FORGERIES: [&[(&str, &str)]; 5] = [
    &[("user_class", "premium")],
    &[("user-class", "premium")],
    &[("user_class", "basic"), ("user_class", "premium")],
    &[("user_class", "premium"), ("user-class", "premium"), ("user_class", "")],
    &[("x-jwt-payload", "eyJ1c2VyX3R5cGUiOiJwcmVtaXVtIn0"), ("user_class", "premium")],
];

/// A token whose signature is of the right form, and wrong.
pub fn badly_signed(token: &str) -> String {
    let (head, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{head}.{first}{}", signature.get(1..).unwrap_or_default())
}
