// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Item, Kind, Outcome, Reason} from "../IWaybill.sol";
import {vm} from "./Vm.sol";
import {Message, Notice} from "./Words.sol";
import {World} from "./World.sol";

/// @dev What whole transactions cost, pinned in contracts/test/gas/Waybill.json: `node contracts/forge.mjs snapshot` writes it
/// again. Nothing here is random. Each relay is a transaction of its own (isolate), with the intrinsic gas and its
/// calldata's, and the task has a history.
/// forge-config: default.isolate = true
/// forge-config: long.isolate = true
contract GasTest is World {
    uint256 private constant TEN = 0x7fe;

    function setUp() public override {
        deploy();
        task = opened(SALT, accounts(0, 60));
        vm.roll(block.number + 1);
    }

    function test_anOpenOf10() public {
        _pin("open of 10 members", items(openItem("new", accounts(0, 10))));
    }

    function test_anOpenOf256FitsIntoATransaction() public {
        vm.assertLt(_pin("open of 256 members", items(openItem("new", fillers(256)))), 16_777_216);
    }

    function test_anAdmitOf10() public {
        _pin("admit of 10", items(changeItem(Kind.ADMIT, accounts(60, 10), 1)));
    }

    function test_anExpelOf10() public {
        _pin("expel of 10", items(changeItem(Kind.EXPEL, accounts(50, 10), 1)));
    }

    function test_aNoticeToTen() public {
        _pin("notice to 10", items(noticeItem(newNotice(TEN))));
    }

    function test_tenNoticesToTen() public {
        _pin("10 notices to 10", _notices(10));
    }

    function test_aReceipt() public {
        _pin("receipt", items(receiptItem(keyOf(1), noticed(TEN), 1)));
    }

    function test_fiftyReceiptsAsFiveNoticesOfTen() public {
        Item[] memory list = new Item[](5);
        for (uint256 i; i < 5; ++i) {
            Notice memory n = noticed(TEN);
            bytes memory signatures;
            for (uint256 k = 1; k <= 10; ++k) {
                signatures = bytes.concat(signatures, receiptSignature(keyOf(k), n, 1));
            }
            list[i] = Item(Kind.RECEIPTS, receiptData(n, 1), signatures);
        }
        _pin("50 receipts, 5 notices x 10", list);
    }

    function test_fiftyReceiptsOfOneMember() public {
        Item[] memory list = new Item[](50);
        for (uint256 i; i < 50; ++i) {
            list[i] = receiptItem(keyOf(1), noticed(2), 1);
        }
        _pin("50 receipts of one member for 50 notices", list);
    }

    function test_fiftyReceiptsOfFiftyMembers() public {
        Item[] memory list = new Item[](50);
        for (uint256 i; i < 50; ++i) {
            list[i] = receiptItem(keyOf(i + 1), noticed(1 << (i + 1)), 1);
        }
        _pin("50 receipts of 50 members for 50 notices", list);
    }

    function test_aRejectingReceipt() public {
        _pin("rejecting receipt", items(receiptItem(keyOf(1), noticed(TEN), Outcome.CORRUPT)));
    }

    function test_aWithdraw() public {
        _pin("withdraw", items(withdrawItem(noticed(TEN))));
    }

    function test_aMessage() public {
        _pin("message of 256 bytes", items(_message()));
    }

    function test_aSkippedDuplicate() public {
        Item memory item = _message();
        relay(item, Reason.OK);
        _pin("skipped duplicate of a message", items(item));
    }

    function _message() private returns (Item memory) {
        Message memory m = newMessage();
        m.payload = new bytes(256);
        return messageItem(m);
    }

    function _notices(uint256 count) private returns (Item[] memory list) {
        list = new Item[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = noticeItem(newNotice(TEN));
        }
    }

    function _pin(string memory name, Item[] memory list) private returns (uint256) {
        waybill.relay(list);
        return vm.snapshotGasLastCall("Waybill", name);
    }
}
