import pytest


@pytest.mark.parametrize("row", ["no-number", "0", "99999999999999999999999", "%00"])
@pytest.mark.parametrize(
    "address",
    [
        "policies_app/policy/{}/publish/",
        "policies_app/policy/{}/roll-back/",
        "policies_app/policy/{}/export/",
        "policies_app/killswitch/{}/lift/",
        "policies_app/apikey/{}/rotate/",
        "policies_app/rule/{}/open_policy/",
        "dispatch_app/dispatch/{}/costs/",
    ],
)
def test_an_action_on_a_row_that_there_is_not_is_not_found(admin, address, row):
    assert admin.get(f"/admin/{address.format(row)}").status_code == 404
