//! `coordinator credentials`.

use ulda_credentials::issue;

use super::arguments::{CredentialsCommand, NewCredentialsArguments};
use crate::exit::{Exit, Stop};

pub fn credentials(command: &CredentialsCommand) -> Result<Exit, Stop> {
    match command {
        CredentialsCommand::New(arguments) => new(arguments),
    }
}

fn new(arguments: &NewCredentialsArguments) -> Result<Exit, Stop> {
    issue::create(&arguments.folder, &arguments.hosts).map_err(Stop::bad_input)?;
    let folder = arguments.folder.display();
    eprintln!(
        "made token, authority and certificates in {folder}\n\
         serve with them: `coordinator --credentials {folder} …`; workers need a copy: `worker join --credentials …`"
    );
    Ok(Exit::Done)
}
