"""usufruct-oracle keys: make, move and look at the node's key. No command prints one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.signing import address_of, checksum_address

from usufruct_oracle.commands.console import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    print_json,
    reported,
    say,
)
from usufruct_oracle.keys.keystore import new_private_key, read_plain_key
from usufruct_oracle.keys.node_key import close_signer, keep_new_key, kind_of, open_signer, try_out
from usufruct_oracle.settings import Settings

key_app = typer.Typer(help="Make, import and show the node's key.", no_args_is_help=True)

KeystoreOption = Annotated[Path, typer.Option("--keystore", help="The keystore file to write.")]
PassphraseOption = Annotated[
    Path, typer.Option("--passphrase-file", help="Its passphrase; made at random if there is none.")
]


@key_app.command("new")
def new_key(keystore: KeystoreOption, passphrase_file: PassphraseOption) -> None:
    """Make a key in a new keystore file."""
    with reported():
        _keep(new_private_key(), keystore, passphrase_file)


@key_app.command("import")
def import_key(
    key_file: Annotated[Path, typer.Option(help="Plain key file: 64 hex digits.")],
    keystore: KeystoreOption,
    passphrase_file: PassphraseOption,
) -> None:
    """Encrypt a plain key into a new keystore file; delete the plain file yourself afterwards."""
    with reported():
        _keep(read_plain_key(key_file), keystore, passphrase_file)
        say(f"now delete {key_file}, and copies of it (shred -u, backups)")


@key_app.command("show")
def show_key(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the node's address and where its key is, and let it sign something that means nothing."""
    with reported():
        settings = Settings.load(config)
        signer = open_signer(settings)
        if signer is None or settings.key is None:
            raise ConfigInvalid(
                f"{config} names no key: the node runs dry", hint="usufruct-oracle keys new makes one"
            )
        try:
            try_out(signer)
        finally:
            close_signer(signer)
        content: dict[str, Any] = {
            "address": checksum_address(signer.address),
            "kind": kind_of(settings.key),
            "signs": True,
        }
        if as_json:
            print_json(content)
        else:
            say(f"{content['address']} ({content['kind']}), and it signs")


def _keep(private_key: bytes, keystore: Path, passphrase_file: Path) -> None:
    keep_new_key(private_key, keystore, passphrase_file)
    say(f"{checksum_address(address_of(private_key))} is in {keystore}; {passphrase_file} opens it")
    say("keep a copy of both, apart from each other: whoever has both has the key")
