//! The way out to addresses that flow files name: which of them may be asked, and how one is asked.
//!
//! Whoever writes a flow, or feeds it a param, must not reach what only this machine can: itself, the private network, the
//! metadata service of a cloud. So a name is resolved here, each address is judged, and the connection goes to exactly the
//! addresses that passed; a name that answers differently a moment later gains nothing. Each redirect is judged anew.

mod fetch;
mod place;

pub use fetch::{Answer, Ask, NetError, fetch, shown};
pub use place::{PlaceError, Places};
