// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Kind, Member, Reason} from "../IWaybill.sol";
import {Handler} from "./Handler.sol";
import {vm} from "./Vm.sol";
import {Words} from "./Words.sol";

/// @dev What stands on the chain against what the handler's books say must stand.
contract Auditor is Handler {
    function assertLines() external view {
        for (uint256 i; i < 2; ++i) {
            (uint64 newest, uint64 block_) = waybill.latest(books[i].id);
            vm.assertEq(newest, books[i].seq, "seq");
            vm.assertEq(block_, books[i].lastBlock, "the newest event's block");
        }
    }

    function assertRosters() external view {
        for (uint256 i; i < 2; ++i) {
            (address owner, uint32 version, uint32 count) = waybill.roster(books[i].id);
            vm.assertEq(owner, vm.addr(books[i].ownerKey), "owner");
            vm.assertEq(version, books[i].version, "version");
            vm.assertEq(count, books[i].given.length, "count");
        }
    }

    function assertIndices() external view {
        for (uint256 i; i < 2; ++i) {
            uint256 from = i == 0 ? 100 : 0;
            Member[] memory list = waybill.members(books[i].id, from, type(uint256).max);
            vm.assertEq(list.length, books[i].given.length - from, "as many as were given");
            for (uint256 k; k < list.length; ++k) {
                address account = books[i].given[from + k];
                Standing storage s = standings[i][account];
                vm.assertEq(list[k].account, account, "an index belongs to one account for ever");
                vm.assertTrue(list[k].active == (s.active && s.index == from + k), "active under its newest alone");
            }
        }
    }

    function assertStandings() external view {
        for (uint256 i; i < 2; ++i) {
            for (uint256 k; k < ACTORS; ++k) {
                Standing storage s = standings[i][actors[k]];
                (uint32 index, bool active, bool known) = waybill.member(books[i].id, actors[k]);
                vm.assertTrue(index == s.index && active == s.active && known == s.known, "standing");
            }
        }
    }

    function assertOutstanding() external view {
        for (uint256 i; i < sheets.length; ++i) {
            (, uint256 outstanding,,) = _state(i, sheets[i].book, sheets[i].notice.page);
            vm.assertEq(outstanding, sheets[i].outstanding, "outstanding");
        }
    }

    function assertClearedStaysCleared() external view {
        for (uint256 i; i < sheets.length; ++i) {
            (, uint256 outstanding,,) = _state(i, sheets[i].book, sheets[i].notice.page);
            vm.assertEq(outstanding & sheets[i].cleared, 0, "a cleared bit is back");
        }
    }

    function assertVerifiedStays() external view {
        for (uint256 i; i < sheets.length; ++i) {
            (,, uint256 verified,) = _state(i, sheets[i].book, sheets[i].notice.page);
            vm.assertEq(verified, sheets[i].verified, "verified");
        }
    }

    function assertDisjoint() external view {
        for (uint256 i; i < sheets.length; ++i) {
            (, uint256 outstanding, uint256 verified,) = _state(i, sheets[i].book, sheets[i].notice.page);
            vm.assertEq(outstanding & verified, 0, "both outstanding and verified");
            vm.assertEq((outstanding | verified) & ~sheets[i].notice.recipients, 0, "not a recipient");
        }
    }

    function assertWithdrawn() external view {
        for (uint256 i; i < sheets.length; ++i) {
            (, uint256 outstanding,, bool withdrawn) = _state(i, sheets[i].book, sheets[i].notice.page);
            vm.assertTrue(withdrawn == sheets[i].withdrawn, "withdrawn");
            if (withdrawn) vm.assertEq(outstanding, 0, "nothing is outstanding of a withdrawn notice");
        }
    }

    function assertDeadlines() external view {
        for (uint256 i; i < sheets.length; ++i) {
            (uint256 deadline,,,) = _state(i, sheets[i].book, sheets[i].notice.page);
            vm.assertEq(deadline, sheets[i].notice.deadline, "deadline");
        }
    }

    function assertTold() external view {
        for (uint256 i; i < sheets.length; ++i) {
            vm.assertEq(sheets[i].told, sheets[i].answered, "the events tell of each answer, and of nothing else");
        }
    }

    function assertNowhereElse() external view {
        for (uint256 i; i < sheets.length; ++i) {
            for (uint16 page; page < 3; ++page) {
                for (uint256 book; book < 2; ++book) {
                    if (book == sheets[i].book && page == sheets[i].notice.page) continue;
                    (uint256 deadline, uint256 outstanding, uint256 verified, bool withdrawn) = _state(i, book, page);
                    vm.assertTrue(deadline == 0 && outstanding == 0 && verified == 0 && !withdrawn, "elsewhere");
                }
            }
        }
    }

    function _state(uint256 sheet, uint256 book, uint16 page) private view returns (uint256, uint256, uint256, bool) {
        return waybill.state(books[book].id, page, Words.id(sheets[sheet].notice));
    }
}

struct FuzzSelector {
    address addr;
    bytes4[] selectors;
}

contract InvariantsTest {
    Auditor private _auditor;

    function setUp() public {
        _auditor = new Auditor();
    }

    function targetContracts() external view returns (address[] memory list) {
        list = new address[](1);
        list[0] = address(_auditor);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory list) {
        list = new FuzzSelector[](1);
        list[0] = FuzzSelector(address(_auditor), _actions());
    }

    function invariant_seqRisesByOneAndEveryPrevBlockIsRight() public view {
        _auditor.assertLines();
    }

    function invariant_onlyTheOwnersChangesMoveTheRoster() public view {
        _auditor.assertRosters();
    }

    function invariant_indicesAreNeverReused() public view {
        _auditor.assertIndices();
    }

    function invariant_anAccountsStandingIsItsNewestIndex() public view {
        _auditor.assertStandings();
    }

    function invariant_outstandingIsWhatNobodyAnsweredOrWithdrew() public view {
        _auditor.assertOutstanding();
    }

    function invariant_aClearedBitNeverReturns() public view {
        _auditor.assertClearedStaysCleared();
    }

    function invariant_verifiedStaysVerified() public view {
        _auditor.assertVerifiedStays();
    }

    function invariant_verifiedAndOutstandingAreDisjointAndRecipients() public view {
        _auditor.assertDisjoint();
    }

    function invariant_withdrawnStaysWithdrawn() public view {
        _auditor.assertWithdrawn();
    }

    function invariant_aDeadlineNeverChanges() public view {
        _auditor.assertDeadlines();
    }

    function invariant_theEventsTellOfEachAnswerOnce() public view {
        _auditor.assertTold();
    }

    function invariant_aNoticeIsOnItsOwnPageOfItsOwnTask() public view {
        _auditor.assertNowhereElse();
    }

    /// @dev Otherwise the invariants could hold because nothing ever happens.
    function test_theHandlerReachesWhatItIsFor() public {
        for (uint256 i; i < 2000; ++i) {
            bytes4 action = _actions()[uint256(keccak256(abi.encode("action", i))) % 11];
            uint256[4] memory seeds;
            for (uint256 k; k < 4; ++k) {
                seeds[k] = uint256(keccak256(abi.encode(i, k)));
            }
            seeds[_isNarrow(action)] %= 256;
            (bool ok, bytes memory why) = address(_auditor).call(abi.encodePacked(action, seeds));
            vm.assertTrue(ok, string(why));
        }
        _assertAnswered(Kind.OPEN, [Reason.TASK_EXISTS, Reason.TASK_EXISTS, Reason.TASK_EXISTS, Reason.TASK_EXISTS]);
        for (uint8 kind = Kind.ADMIT; kind <= Kind.EXPEL; ++kind) {
            _assertAnswered(kind, [Reason.OK, Reason.STALE_ROSTER, Reason.FUTURE_ROSTER, Reason.BAD_SIGNATURE]);
        }
        for (uint8 kind = Kind.NOTICE; kind <= Kind.MESSAGE; kind += 4) {
            _assertAnswered(kind, [Reason.OK, Reason.UNKNOWN_MEMBER, Reason.EXPELLED, Reason.BAD_SIGNATURE]);
            _assertAnswered(kind, [Reason.OK, Reason.OK, Reason.OK, Reason.EXPIRED]);
        }
        _assertAnswered(Kind.NOTICE, [Reason.BAD_RECIPIENTS, Reason.UNKNOWN_RECIPIENT, Reason.BAD_DEADLINE, Reason.OK]);
        for (uint8 kind = Kind.RECEIPTS; kind <= Kind.WALLET_RECEIPT; ++kind) {
            _assertAnswered(kind, [Reason.OK, Reason.DUPLICATE, Reason.UNKNOWN_MEMBER, Reason.EXPELLED]);
            _assertAnswered(kind, [Reason.OK, Reason.UNKNOWN_NOTICE, Reason.EXPIRED, Reason.NOT_OUTSTANDING]);
        }
        _assertAnswered(Kind.WITHDRAW, [Reason.OK, Reason.DUPLICATE, Reason.NOT_OUTSTANDING, Reason.BAD_SIGNATURE]);
        _assertReached("a run of both tasks");
        _assertReached("several groups in an event");
        _assertReached("replay");
        _assertReached("page 1");
        _assertReached("answered on page 1");
        _assertReached("admitted again");
        _assertReached("answered by one admitted again");
        _assertReached("withdrawn by an expelled sender");
    }

    function _actions() private pure returns (bytes4[] memory list) {
        list = new bytes4[](11);
        list[0] = Handler.passTime.selector;
        list[1] = Handler.admit.selector;
        list[2] = Handler.expel.selector;
        list[3] = Handler.notice.selector;
        list[4] = Handler.receipts.selector;
        list[5] = Handler.walletReceipt.selector;
        list[6] = Handler.withdraw.selector;
        list[7] = Handler.message.selector;
        list[8] = Handler.replay.selector;
        list[9] = Handler.reopen.selector;
        list[10] = Handler.run.selector;
    }

    /// @dev The argument that is a uint8, or one that matters to nobody.
    function _isNarrow(bytes4 action) private pure returns (uint256) {
        if (action == Handler.passTime.selector) return 1;
        return action == Handler.receipts.selector || action == Handler.run.selector ? 2 : 0;
    }

    function _assertAnswered(uint8 kind, uint8[4] memory reasons) private view {
        for (uint256 i; i < 4; ++i) {
            string memory which = string.concat("kind ", vm.toString(kind), ", reason ", vm.toString(reasons[i]));
            vm.assertGt(_auditor.answered(kind, reasons[i]), 0, which);
        }
    }

    function _assertReached(string memory what) private view {
        vm.assertGt(_auditor.reached(what), 0, what);
    }
}
