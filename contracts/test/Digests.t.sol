// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind} from "../IWaybill.sol";
import {Vm, vm} from "./Vm.sol";
import {Message, Notice, Words} from "./Words.sol";
import {World} from "./World.sol";

/// @dev A random statement as TypeScript hashed and signed it (contracts/test/statements.mjs), for a random chain and
/// contract. `author` is whom it names, or anybody where only the signature tells.
struct Row {
    uint256 chain;
    address verifier;
    uint8 kind;
    bytes data;
    bytes signature;
    bytes32 digest;
    bytes32 task;
    address author;
    bytes32 id;
    uint256 key;
}

/// @dev Fresh ones in each run; a failure names its seed, which WAYBILL_SEED repeats.
contract DigestsTest is World {
    Row[] private _rows;
    string private _seed;

    function setUp() public override {
        super.setUp();
        string memory json = vm.readFile("../node_modules/.forge/statements.json");
        _seed = string.concat("seed ", vm.toString(vm.parseJsonUint(json, ".seed")));
        Row[] memory rows = abi.decode(vm.parseJsonBytes(json, ".statements"), (Row[]));
        for (uint256 i; i < rows.length; ++i) {
            _rows.push(rows[i]);
        }
    }

    function test_thereAreManyStatementsOfEveryKind() public view {
        uint256[8] memory counts;
        for (uint256 i; i < _rows.length; ++i) {
            ++counts[_rows[i].kind];
        }
        for (uint256 kind; kind < 8; ++kind) {
            vm.assertEq(counts[kind], 64);
        }
    }

    function test_typescriptsDigestsAreThoseOfTheBook() public view {
        for (uint256 i; i < _rows.length; ++i) {
            Row memory r = _rows[i];
            vm.assertEq(r.digest, Words.digest(Words.domain(r.chain, r.verifier), _hash(r)), _seed);
        }
    }

    function test_typescriptsIdsAreThoseOfTheBook() public view {
        for (uint256 i; i < _rows.length; ++i) {
            Row memory r = _rows[i];
            vm.assertEq(r.id, Words.id(_hash(r), r.author), _seed);
        }
    }

    function test_typescriptsTaskIdsAreThoseOfTheBook() public view {
        for (uint256 i; i < _rows.length; ++i) {
            Row memory r = _rows[i];
            if (r.kind != Kind.OPEN) continue;
            (address owner, bytes32 salt) = abi.decode(r.data, (address, bytes32));
            vm.assertEq(r.task, Words.task(owner, salt), _seed);
        }
    }

    /// @dev Skipped carries the id wherever the item names its author and can be read.
    function test_theContractsIdsAreTypescripts() public {
        uint256 compared;
        for (uint256 i; i < _rows.length; ++i) {
            Row memory r = _rows[i];
            if (r.kind == Kind.ADMIT || r.kind == Kind.EXPEL || r.kind == Kind.RECEIPTS) continue;
            vm.recordLogs();
            waybill.relay(items(Item(r.kind, r.data, r.signature)));
            Vm.Log[] memory logs = vm.getRecordedLogs();
            vm.assertEq(logs[0].topics[0], IWaybill.Skipped.selector, _seed);
            vm.assertEq(logs[0].topics[1], r.id, _seed);
            ++compared;
        }
        vm.assertEq(compared, 5 * 64);
    }

    /// @dev The contract recovers TypeScript's signatures, on the chain and at the address that they were made for.
    function test_theContractRecoversTheAuthorsOfTypescriptsReceipts() public {
        uint256 compared;
        for (uint256 i; i < _rows.length; ++i) {
            Row memory r = _rows[i];
            if (r.kind != Kind.RECEIPTS) continue;
            address author = vm.addr(r.key);
            vm.chainId(r.chain);
            vm.etch(r.verifier, address(waybill).code);
            vm.recordLogs();
            IWaybill(r.verifier).relay(items(Item(r.kind, r.data, r.signature)));
            Vm.Log[] memory logs = vm.getRecordedLogs();
            vm.assertEq(logs[0].topics[1], Words.id(_hash(r), author), _seed);
            ++compared;
        }
        vm.assertEq(compared, 64);
    }

    function _hash(Row memory r) private pure returns (bytes32) {
        if (r.kind == Kind.OPEN) {
            (address owner, bytes32 salt, address[] memory members) = abi.decode(r.data, (address, bytes32, address[]));
            return Words.hashOpen(owner, salt, members);
        }
        if (r.kind == Kind.ADMIT || r.kind == Kind.EXPEL) {
            (bytes32 id, address[] memory members, uint32 roster) = abi.decode(r.data, (bytes32, address[], uint32));
            return Words.hashChange(r.kind, id, members, roster);
        }
        if (r.kind == Kind.NOTICE) return Words.hash(abi.decode(r.data, (Notice)));
        if (r.kind == Kind.WITHDRAW) return Words.hashWithdraw(abi.decode(r.data, (Notice)));
        if (r.kind == Kind.MESSAGE) {
            // A struct with a dynamic field is encoded behind an offset, which items leave out.
            return Words.hash(abi.decode(bytes.concat(abi.encode(0x20), r.data), (Message)));
        }
        if (r.kind == Kind.RECEIPTS) {
            (bytes32 id, bytes32 notice, uint8 outcome) = abi.decode(r.data, (bytes32, bytes32, uint8));
            return Words.hashReceipt(id, notice, outcome);
        }
        (bytes32 of_, bytes32 noticeId, uint8 said, address account) =
            abi.decode(r.data, (bytes32, bytes32, uint8, address));
        return Words.hashWalletReceipt(of_, noticeId, said, account);
    }
}
