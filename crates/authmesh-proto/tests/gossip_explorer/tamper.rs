//! Controls that lie on the way: answers that say what their sender must not have said, or that the asker must not have believed.

use authmesh_proto::gossip::message::{Answer, Ask, Request, State};

use crate::scenarios::Control;
use crate::world::{At, World};

/// No age at all.
const NONE: u8 = u8::MAX;

/// An answer as it arrives.
pub(crate) fn answer(world: &World, asker: At, answerer: At, bytes: &[u8]) -> Vec<u8> {
    let untouched = bytes.to_vec();
    let Some(control @ (Control::NoContainment | Control::NoAge)) = world.control else {
        return untouched;
    };
    let Ok(mut answer) = Answer::decode(bytes) else {
        return untouched;
    };
    let state: &mut State = match &mut answer {
        Answer::Tell(tell) => &mut tell.state,
        Answer::Everything { state, .. } => state,
        _ => return untouched,
    };
    match control {
        // Taken for a view like the asker's own. Evidence of others is left out: it could not be told whose it is.
        Control::NoContainment => {
            if let Some(own) = world.view_digest(asker, answerer)
                && own != state.view
            {
                state.view = own;
                state.evidence = Vec::new();
            }
        }
        _ => {
            for age in state.evidence.iter_mut().filter(|age| **age != NONE) {
                *age = 0;
            }
            state.redis_age = state.redis_age.map(|_| 0);
        }
    }
    answer.encode()
}

/// A question that brings nothing.
pub(crate) fn bare_question() -> Vec<u8> {
    Request::Ask(Ask::default()).encode()
}

/// The digest of the answerer's view.
pub(crate) fn view_in(answer: &[u8]) -> Option<u64> {
    match Answer::decode(answer) {
        Ok(Answer::Tell(tell)) => Some(tell.state.view),
        _ => None,
    }
}
