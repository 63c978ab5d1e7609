import traceback

import pytest

from drum_supervisor.contract.masking import MASK, mask_secrets

# Concatenated, so that secret scanners do not report this file.
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N"
HUGGING_FACE = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
GITHUB = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
OPENAI = "sk-" + "proj-a1b2c3d4e5f6g7h8"
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\nq83vEjRW\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=hunter2", "password=********"),
        ("PASSWORD = hunter2", "PASSWORD = ********"),
        ("db_password: hunter2, host: db", "db_password: ********, host: db"),
        ("passwd='hunter2'", "passwd='********'"),
        ("pwd=hunter2;server=db", "pwd=********;server=db"),
        ("passphrase: hunter2", "passphrase: ********"),
        ('{"api_key": "a1b2c3"}', '{"api_key": "********"}'),
        ("{'client_secret': 'a1b2c3'}", "{'client_secret': '********'}"),
        ("API-Key: a1b2c3", "API-Key: ********"),
        ("api key = a1b2c3", "api key = ********"),
        ("SECRET_KEY=a1b2c3", "SECRET_KEY=********"),
        ("aws_secret_access_key = a1/b2+c3", "aws_secret_access_key = ********"),
        ("AccountKey=a1b2c3==;EndpointSuffix=core", "AccountKey=********;EndpointSuffix=core"),
        ("DATAROBOT_API_TOKEN=a1b2c3", "DATAROBOT_API_TOKEN=********"),
        ("tokens: a1b2c3", "tokens: ********"),
        ("token=123456789012345", "token=********"),
        ("https://host/path?access_token=a1b2c3&page=2", "https://host/path?access_token=********&page=2"),
    ],
)
def test_value_of_a_secret_name_is_masked(text, masked):
    assert mask_secrets(text) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('password="correct horse, battery; staple"', 'password="********"'),
        ("PASSWORD=b'correct horse'", "PASSWORD=b'********'"),
        (r'{"password": "two \" words", "host": "db"}', '{"password": "********", "host": "db"}'),
        ('password="cut off in the mid', 'password="********'),
    ],
)
def test_value_in_quotes_is_masked_to_the_closing_quote(text, masked):
    assert mask_secrets(text) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("run --password hunter2 --host db", "run --password ******** --host db"),
        ("run --password 'hunter2'", "run --password '********'"),
        (
            "Command '['run', '--db-password', 'hunter2']' failed",
            "Command '['run', '--db-password', '********']' failed",
        ),
        ("run --api-token=a1b2c3", "run --api-token=********"),
    ],
)
def test_argument_of_a_secret_option_is_masked(text, masked):
    assert mask_secrets(text) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Basic dXNlcjpodW50ZXIy", "Authorization: Basic ********"),
        ("Authorization: Bearer a1b2c3d4", "Authorization: Bearer ********"),
        ("{'authorization': 'Token a1b2c3d4'}", "{'authorization': 'Token ********'}"),
        ("sent Bearer a1b2c3d4e5f6", "sent Bearer ********"),
        ("sent basic dXNlcjpwdw==", "sent basic ********"),
    ],
)
def test_credentials_of_a_header_are_masked(text, masked):
    assert mask_secrets(text) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgres://user:hunter2@db:5432/x", "postgres://user:********@db:5432/x"),
        ("redis://:hunter2@cache:6379/0", "redis://:********@cache:6379/0"),
        ("mongodb+srv://user:p@ss@db/x?a=b@c", "mongodb+srv://user:********@db/x?a=b@c"),
        ("amqp://a:b1@x,amqp://c:d2@y", "amqp://a:********@x,amqp://c:********@y"),
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=0a1b2c&X-Amz-Date=2026",
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=********&X-Amz-Date=2026",
        ),
        (
            "https://a.blob.core.windows.net/c?sv=2024&sig=0a1b2c%3D",
            "https://a.blob.core.windows.net/c?sv=2024&sig=********",
        ),
    ],
)
def test_password_or_signature_in_a_url_is_masked(text, masked):
    assert mask_secrets(text) == masked


@pytest.mark.parametrize(
    "secret", [JWT, HUGGING_FACE, GITHUB, OPENAI, AWS], ids=["jwt", "hf", "github", "openai", "aws"]
)
@pytest.mark.parametrize("around", ["{}", "got {} from you", "({})", "'{}'", "x={},y=1"])
def test_key_of_a_known_shape_is_masked_anywhere(secret, around):
    assert mask_secrets(around.format(secret)) == around.format(MASK)


def test_private_key_keeps_its_delimiters():
    assert mask_secrets(f"a {PRIVATE_KEY} b") == (
        f"a -----BEGIN RSA PRIVATE KEY-----{MASK}-----END RSA PRIVATE KEY----- b"
    )


def test_truncated_private_key_is_masked_to_the_end():
    assert mask_secrets(PRIVATE_KEY[:50]) == f"-----BEGIN RSA PRIVATE KEY-----{MASK}"


def test_masking_is_idempotent():
    once = mask_secrets(
        f"password='a b c' {JWT} postgres://u:p@h/ --token abcdef Authorization: Basic dXNlcjpodW50ZXIy"
    )
    assert mask_secrets(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ValueError: the model file model.pkl was not found",
        "wrong password",
        "the secret is out",
        "max_tokens=4096 is more than the 2048 tokens: 2048 that fit",
        "Basic authentication failed, bearer of bad news",
        "File 'utils/_http.py', line 409, in hf_raise_for_status",
        "from sk-learn-contrib-something import tokenizer",
        "tokenizer=AutoTokenizer, token_type_ids=None",
        "listening on http://127.0.0.1:8080/ping and http://[::1]:8080/",
        "http://user@host:80/ is http://host:80/mail@host",
        "pip install git+https://github.com/owner/repo.git@main",
        "2026-01-02T03:04:05.678Z user:group /path:ro key=value sig=none",
        "Password:\nTraceback (most recent call last):",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "passwörter: ключ \U0001f511\0\x1b[31m",
    ],
)
def test_ordinary_text_is_kept(text):
    assert mask_secrets(text) == text


def test_traceback_is_kept():
    try:
        {"weights": 1}["bias"]
    except KeyError as error:
        text = "".join(traceback.format_exception(error))
    assert mask_secrets(text) == text


SIZE = 64 * 1024
REPEATED = (
    "a", "0", " ", "-", "--", "_", "a.", "a-", "\\", "\\\\'", "=", "://", "://a:", "http://", "a://b:c", "@", "&",
    "?sig=", "password", "password=", "password='", "token ", "tokens:", "--password ", "basic ", "Basic a ", "Bearer ",
    "authorization:", "Authorization: Basic ", "eyJ", "eyJ.", "eyJ-", "eyJaaaaaaaa.", "sk-", "hf_", "ghp_", "AKIA",
    "-----BEGIN ", "-----BEGIN PRIVATE KEY-----",
)  # fmt: skip
BEGINNINGS = ("", "password='", "authorization:", "://a:", "eyJaaaaaaaa.")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("repeated", REPEATED)
def test_hostile_text_takes_linear_time(repeated):  # about a minute per text if a pattern is quadratic
    for beginning in BEGINNINGS:
        hostile = f"{beginning}{(repeated * SIZE)[:SIZE]}!"
        masked = mask_secrets(hostile)
        assert MASK in masked or masked == hostile
