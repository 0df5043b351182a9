//! Where runners run when domains are Knative's: a cluster (`place`), what is to be there (`desired`, pure), what is there
//! (`observed`, pure), and the steps between them (`provision`). Nothing here knows a Condition.

mod calls;
mod desired;
mod elsewhere;
mod failing;
mod follow;
mod kept;
mod kind;
mod observed;
mod options;
mod place;
mod places;
mod provision;
mod quantity;
mod removal;
mod requests;

pub(crate) use elsewhere::Elsewhere;
pub(crate) use options::{ComputeArgs, DomainMode, Options, SharedRunner};
pub(crate) use place::{About, Layout, Notice, Place, PlaceId, Setup, State};
pub(crate) use places::{NotOpened, Places};
pub(crate) use provision::{Tenancy, Trouble};
pub(crate) use removal::Undone;
