// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Outcome, Reason} from "../IWaybill.sol";
import {Vm, vm} from "./Vm.sol";
import "./Wallets.sol";
import {Message, Notice, Words} from "./Words.sol";
import {World} from "./World.sol";

contract SignaturesTest is World {
    uint256 private constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    // Keys: the forms of a signature, of every kind of statement

    function test_aHighSIsRefused() public {
        _assertRefused(_highS);
    }

    function test_vZeroOrOneIsRefused() public {
        _assertRefused(_lowV);
    }

    function test_theCompactFormOf64BytesIsRefused() public {
        _assertRefused(_compact);
    }

    function test_anEmptySignatureIsRefused() public {
        _assertRefused(_empty);
    }

    function test_aByteTooManyIsRefused() public {
        _assertRefused(_longer);
    }

    function test_aByteTooFewIsRefused() public {
        _assertRefused(_shorter);
    }

    function test_zerosAreRefused() public {
        _assertRefused(_zeros);
    }

    function test_zerosWithAValidVAreRefused() public {
        _assertRefused(_zerosWithV);
    }

    function test_anRAtTheOrderIsRefused() public {
        _assertRefused(_greatR);
    }

    function test_theWrongVIsSomebodyElsesSignature() public {
        Notice memory n = newNotice(2);
        Item memory item = noticeItem(n);
        item.signatures = _otherV(item.signatures);
        relay(item, Reason.BAD_SIGNATURE);
        n = noticed(2);
        item = receiptItem(keyOf(1), n, 1);
        item.signatures = _otherV(item.signatures);
        relay(item, Reason.UNKNOWN_MEMBER);
    }

    function test_theHighestLowSIsTaken() public {
        // Half the order itself is as low as it gets; nobody has a signature with it, so it recovers to a stranger.
        Notice memory n = noticed(2);
        bytes32 r = bytes32(receiptSignature(keyOf(1), n, 1));
        bytes memory s = abi.encodePacked(r, ORDER / 2, uint8(27));
        relay(Item(Kind.RECEIPTS, receiptData(n, 1), s), Reason.UNKNOWN_MEMBER);
        s = abi.encodePacked(r, ORDER / 2 + 1, uint8(27));
        relay(Item(Kind.RECEIPTS, receiptData(n, 1), s), Reason.BAD_SIGNATURE);
    }

    function test_aSignatureForAnotherChainIsRefused() public {
        bytes32 ours = domain;
        domain = Words.domain(block.chainid + 1, address(waybill));
        Notice memory n = newNotice(2);
        relay(noticeItem(n), Reason.BAD_SIGNATURE);
        vm.chainId(block.chainid + 1);
        relay(noticeItem(n), Reason.OK);
        domain = ours;
        relay(noticeItem(newNotice(2)), Reason.BAD_SIGNATURE);
    }

    function test_aSignatureForAnotherContractIsRefused() public {
        domain = Words.domain(block.chainid, address(this));
        relay(noticeItem(newNotice(2)), Reason.BAD_SIGNATURE);
    }

    function test_anotherContractKeepsItsOwnState() public {
        Notice memory n = newNotice(2);
        Item memory item = noticeItem(n);
        deploy();
        opened(SALT, accounts(0, 5));
        relay(item, Reason.BAD_SIGNATURE);
    }

    function test_aReceiptsSignatureIsNoWalletReceipts() public {
        Notice memory n = noticed(2);
        relay(walletItem(member(1), n, 1, receiptSignature(keyOf(1), n, 1)), Reason.BAD_SIGNATURE);
    }

    function test_aKeyMayAnswerByWalletReceiptButOnlyOnce() public {
        Notice memory n = noticed(2);
        bytes memory s = sign(keyOf(1), Words.hashWalletReceipt(task, Words.id(n), 1, member(1)));
        relay(walletItem(member(1), n, 1, s), Reason.OK);
        relay(walletItem(member(1), n, 1, s), Reason.DUPLICATE);
        relay(receiptItem(keyOf(1), n, 1), Reason.DUPLICATE);
        assertState(n, 0, 2, false);
    }

    function testFuzz_noOtherBytesAreAKeysSignature(bytes calldata signature) public {
        Notice memory n = newNotice(2);
        vm.assume(keccak256(signature) != keccak256(noticeItem(n).signatures));
        relay(Item(Kind.NOTICE, abi.encode(n), signature), Reason.BAD_SIGNATURE);
    }

    function testFuzz_noOther65BytesAreAKeysSignature(uint256 where, uint8 mask) public {
        Notice memory n = newNotice(2);
        Item memory item = noticeItem(n);
        item.signatures[where % 65] ^= bytes1(mask == 0 ? 1 : mask);
        relay(item, Reason.BAD_SIGNATURE);
    }

    // Delegated keys (EIP-7702)

    function test_aDelegatedKeySignsAsAKey() public {
        _delegate(member(0), address(new RevertingWallet()));
        relay(noticeItem(newNotice(2)), Reason.OK);
    }

    function test_aDelegatedKeyAnswersAsAKey() public {
        Notice memory n = noticed(2);
        _delegate(member(1), address(new BurningWallet()));
        verified(1, n);
    }

    function test_aDelegatedKeysContractMaySignForItToo() public {
        _delegate(member(0), address(new OwnedWallet(vm.addr(STRANGER))));
        Notice memory n = newNotice(2);
        relay(noticeItem(STRANGER, n), Reason.OK);
        relay(noticeItem(OWNER, newNotice(2)), Reason.BAD_SIGNATURE);
    }

    function test_aKeyDelegatedByTransactionSignsAsAKey() public {
        Item memory item = noticeItem(newNotice(2));
        vm.signAndAttachDelegation(address(new LyingWallet()), keyOf(0));
        relay(item, Reason.OK);
        vm.assertEq(member(0).code.length, 23, "delegated indeed");
    }

    // Wallets (ERC-1271)

    function test_aWalletsNoticeCountsByItsOwnersSignature() public {
        address wallet = _member(address(new OwnedWallet(vm.addr(STRANGER))));
        Notice memory n = newNotice(2);
        n.sender = wallet;
        relay(noticeItem(OWNER, n), Reason.BAD_SIGNATURE);
        relay(noticeItem(STRANGER, n), Reason.OK);
        relay(withdrawItem(OWNER, n), Reason.BAD_SIGNATURE);
        relay(withdrawItem(STRANGER, n), Reason.OK);
    }

    function test_aWalletsMessageCountsByItsOwnersSignature() public {
        Message memory m = newMessage();
        m.sender = _member(address(new OwnedWallet(vm.addr(STRANGER))));
        relay(messageItem(m), Reason.BAD_SIGNATURE);
        relay(messageItem(STRANGER, m), Reason.OK);
    }

    function test_aWalletMayOwnATask() public {
        address wallet = address(new OwnedWallet(vm.addr(STRANGER)));
        address[] memory list = accounts(0, 2);
        bytes32 hash = Words.hashOpen(wallet, SALT, list);
        bytes memory data = bytes.concat(abi.encode(wallet, SALT, 0x60, 2), words(list));
        relay(Item(Kind.OPEN, data, sign(OWNER, hash)), Reason.BAD_SIGNATURE);
        relay(Item(Kind.OPEN, data, sign(STRANGER, hash)), Reason.OK);
        task = Words.task(wallet, SALT);
        relay(changeItem(OWNER, Kind.ADMIT, one(member(4)), 1), Reason.BAD_SIGNATURE);
        relay(changeItem(STRANGER, Kind.ADMIT, one(member(4)), 1), Reason.OK);
    }

    function test_aWalletReceiptsEventNamesTheAccount() public {
        (address wallet, Notice memory n) = _asked(address(new OwnedWallet(vm.addr(STRANGER))));
        Item memory item = _answer(STRANGER, wallet, n, Outcome.VERIFIED);
        Vm.Log memory log = relay(item, Reason.OK);
        vm.assertEq(log.topics[0], IWaybill.WalletReceipt.selector);
        vm.assertEq(log.topics[1], task);
        vm.assertEq(log.data, abi.encode(seq(), block.number, Words.id(n), 1, wallet, item.signatures));
        assertState(n, 0, 1 << 5, false);
    }

    function test_aWalletsReceiptTwiceIsADuplicate() public {
        (address wallet, Notice memory n) = _asked(address(new OwnedWallet(vm.addr(STRANGER))));
        Item memory item = _answer(STRANGER, wallet, n, Outcome.REFUSED);
        relay(item, Reason.OK);
        bytes32 hash = Words.hashWalletReceipt(task, Words.id(n), Outcome.REFUSED, wallet);
        relaySkipped(item, Reason.DUPLICATE, Words.id(hash, wallet));
        relay(_answer(STRANGER, wallet, n, Outcome.VERIFIED), Reason.NOT_OUTSTANDING);
        assertState(n, 0, 0, false);
    }

    function test_oneOwnersSignatureDoesNotCountForItsSecondWallet() public {
        address first = _member(address(new OwnedWallet(vm.addr(STRANGER))));
        address second = _member(address(new OwnedWallet(vm.addr(STRANGER))));
        Notice memory n = noticed(3 << 5);
        Item memory item = _answer(STRANGER, first, n, 1);
        relay(walletItem(second, n, 1, item.signatures), Reason.BAD_SIGNATURE);
        relay(item, Reason.OK);
        assertState(n, 2 << 5, 1 << 5, false);
    }

    function test_aWalletsOwnerCannotAnswerAsAKey() public {
        (, Notice memory n) = _asked(address(new OwnedWallet(vm.addr(STRANGER))));
        relay(receiptItem(STRANGER, n, 1), Reason.UNKNOWN_MEMBER);
    }

    function test_aWalletReceiptObeysTheNoticesRules() public {
        (address wallet, Notice memory n) = _asked(address(new AcceptingWallet()));
        address outsider = address(new AcceptingWallet());
        relay(walletItem(outsider, n, 1, ""), Reason.UNKNOWN_MEMBER);
        relay(walletItem(wallet, n, 0, ""), Reason.BAD_OUTCOME);
        relay(walletItem(wallet, newNotice(2), 1, ""), Reason.UNKNOWN_NOTICE);
        relay(walletItem(wallet, noticed(2), 1, ""), Reason.NOT_OUTSTANDING);
        vm.warp(n.deadline + 1);
        relay(walletItem(wallet, n, 1, ""), Reason.EXPIRED);
        expelOne(wallet);
        relay(walletItem(wallet, n, 1, ""), Reason.EXPELLED);
        assertState(n, 1 << 5, 0, false);
    }

    function test_anAcceptingWalletMaySignWithNothing() public {
        (address wallet, Notice memory n) = _asked(address(new AcceptingWallet()));
        relay(walletItem(wallet, n, 1, ""), Reason.OK);
    }

    function test_aWalletThatAnswersTrueIsRefused() public {
        _assertWalletRefused(address(new LyingWallet()));
    }

    function test_aWalletThatAnswersFourBytesIsRefused() public {
        _assertWalletRefused(address(new ShortWallet()));
    }

    function test_aWalletThatRevertsWithTheMagicValueIsRefused() public {
        _assertWalletRefused(address(new RevertingWallet()));
    }

    function test_aWalletThatBurnsItsGasIsRefusedAndBurnsNoMore() public {
        (address wallet, Notice memory n) = _asked(address(new BurningWallet()));
        Item[] memory list = items(walletItem(wallet, n, 1, ""));
        uint256 before = gasleft();
        uint8[][] memory codes = waybill.relay{gas: 3_000_000}(list);
        vm.assertLt(before - gasleft(), 450_000);
        vm.assertEq(codes[0][0], Reason.BAD_SIGNATURE);
    }

    function test_aWalletThatReturnsTooMuchCostsOnlyItsOwnGas() public {
        (address wallet, Notice memory n) = _asked(address(new BombingWallet()));
        Item[] memory list = items(walletItem(wallet, n, 1, ""));
        uint256 before = gasleft();
        uint8[][] memory codes = waybill.relay{gas: 3_000_000}(list);
        vm.assertLt(before - gasleft(), 450_000);
        vm.assertEq(codes[0][0], Reason.OK);
    }

    function test_aWalletCannotReenter() public {
        ReenteringWallet wallet = new ReenteringWallet();
        (, Notice memory n) = _asked(address(wallet));
        Item memory item = walletItem(address(wallet), n, 1, "");
        wallet.prepare(address(waybill), abi.encodeCall(IWaybill.relay, (items(noticeItem(newNotice(2))))));
        relay(item, Reason.OK);
        relay(item, Reason.DUPLICATE);
        assertState(n, 0, 1 << 5, false);
    }

    function test_aWalletCannotReenterWithTheSameItemAndCountTwice() public {
        ReenteringWallet wallet = new ReenteringWallet();
        (, Notice memory n) = _asked(address(wallet));
        Item memory item = walletItem(address(wallet), n, 1, "");
        wallet.prepare(address(waybill), abi.encodeCall(IWaybill.relay, (items(item))));
        relay(item, Reason.OK);
        assertState(n, 0, 1 << 5, false);
    }

    function test_anAccountWithoutCodeIsNoWallet() public {
        Notice memory n = newNotice(2);
        relay(Item(Kind.NOTICE, abi.encode(n), "yes"), Reason.BAD_SIGNATURE);
    }

    function test_tooLittleGasForAWalletRevertsTheRelay() public {
        (address wallet, Notice memory n) = _asked(address(new HungryWallet()));
        Item[] memory list = items(walletItem(wallet, n, 1, ""));
        vm.expectRevert(IWaybill.NotEnoughGas.selector);
        waybill.relay{gas: 400_000}(list);
    }

    /// @dev Whatever the relayer pays: the wallet gets what it is owed, or nothing happens at all.
    function testFuzz_aThriftyRelayerNeverMakesAWalletLookBad(uint256 gas, bool delegated) public {
        address hungry = address(new HungryWallet());
        if (delegated) _delegate(member(9), hungry); // a little dearer to call
        (address wallet, Notice memory n) = _asked(delegated ? member(9) : hungry);
        Item[] memory list = items(walletItem(wallet, n, 1, ""));
        gas = gas % 2 == 0 ? 5_000 + gas % 600_000 : 400_000 + gas % 60_000; // half of them around the limit
        try waybill.relay{gas: gas}(list) returns (uint8[][] memory codes) {
            vm.assertEq(codes[0][0], Reason.OK);
            assertState(n, 0, 1 << 5, false);
        } catch {
            assertState(n, 1 << 5, 0, false);
        }
    }

    /// @dev The same for keys: too little gas for the precompile must not pass for a bad signature.
    function testFuzz_aThriftyRelayerNeverMakesAKeyLookBad(uint256 gas) public {
        Notice memory n = noticed(2);
        Item[] memory list = items(receiptItem(keyOf(1), n, 1));
        try waybill.relay{gas: 2_000 + gas % 60_000}(list) returns (uint8[][] memory codes) {
            vm.assertEq(codes[0][0], Reason.OK);
            assertState(n, 0, 2, false);
        } catch {
            assertState(n, 2, 0, false);
        }
    }

    function testFuzz_onlyTheMagicWordIsAYes(bytes32 word, uint8 length, bool reverts) public {
        if (uint256(word) % 4 == 0) word = bytes32(MAGIC); // often enough
        bytes memory answer = abi.encode(word, word, word);
        length = length % 97;
        assembly {
            mstore(answer, length)
        }
        (address wallet, Notice memory n) = _asked(address(new AnsweringWallet(answer, reverts)));
        bool yes = !reverts && length >= 32 && word == bytes32(MAGIC);
        relay(walletItem(wallet, n, 1, ""), yes ? Reason.OK : Reason.BAD_SIGNATURE);
    }

    // Set-up

    function _member(address account) private returns (address) {
        admitOne(account);
        return account;
    }

    /// @dev A member that is a wallet, at index 5, and a notice to it alone.
    function _asked(address wallet) private returns (address, Notice memory n) {
        admitOne(wallet);
        n = noticed(1 << 5);
        return (wallet, n);
    }

    function _answer(uint256 key, address wallet, Notice memory n, uint256 outcome) private view returns (Item memory) {
        return walletItem(wallet, n, outcome, sign(key, Words.hashWalletReceipt(task, Words.id(n), outcome, wallet)));
    }

    function _delegate(address account, address implementation) private {
        vm.etch(account, abi.encodePacked(hex"ef0100", implementation));
    }

    function _assertWalletRefused(address wallet) private {
        (, Notice memory n) = _asked(wallet);
        relay(walletItem(wallet, n, 1, new bytes(65)), Reason.BAD_SIGNATURE);
        assertState(n, 1 << 5, 0, false);
    }

    /// @dev Of every kind: refused when altered, and applied as it was.
    function _assertRefused(function(bytes memory) pure returns (bytes memory) alter) private {
        Notice memory n = noticed(6);
        bytes32 word = Words.hashWalletReceipt(task, Words.id(n), 2, member(2));
        Item[8] memory all = [
            openItem("new", accounts(0, 2)),
            changeItem(Kind.ADMIT, one(member(9)), 1),
            changeItem(Kind.EXPEL, one(member(4)), 2),
            noticeItem(newNotice(2)),
            receiptItem(keyOf(1), n, 1),
            walletItem(member(2), n, 2, sign(keyOf(2), word)),
            withdrawItem(noticed(2)),
            messageItem(newMessage())
        ];
        for (uint256 i; i < all.length; ++i) {
            vm.assertEq(all[i].kind, i);
            relay(Item(all[i].kind, all[i].data, alter(all[i].signatures)), Reason.BAD_SIGNATURE);
            relay(all[i], Reason.OK);
        }
    }

    function _parts(bytes memory s) private pure returns (uint256 r, uint256 low, uint8 v) {
        assembly {
            r := mload(add(s, 0x20))
            low := mload(add(s, 0x40))
            v := byte(0, mload(add(s, 0x60)))
        }
    }

    function _highS(bytes memory signature) private pure returns (bytes memory) {
        (uint256 r, uint256 s, uint8 v) = _parts(signature);
        return abi.encodePacked(r, ORDER - s, 55 - v);
    }

    function _lowV(bytes memory signature) private pure returns (bytes memory) {
        (uint256 r, uint256 s, uint8 v) = _parts(signature);
        return abi.encodePacked(r, s, v - 27);
    }

    function _otherV(bytes memory signature) private pure returns (bytes memory) {
        (uint256 r, uint256 s, uint8 v) = _parts(signature);
        return abi.encodePacked(r, s, 55 - v);
    }

    function _compact(bytes memory signature) private pure returns (bytes memory) {
        (uint256 r, uint256 s, uint8 v) = _parts(signature);
        return abi.encodePacked(r, s | uint256(v - 27) << 255);
    }

    function _empty(bytes memory) private pure returns (bytes memory) {
        return "";
    }

    function _longer(bytes memory signature) private pure returns (bytes memory) {
        return bytes.concat(signature, hex"00");
    }

    function _shorter(bytes memory signature) private pure returns (bytes memory) {
        (uint256 r, uint256 s,) = _parts(signature);
        return abi.encodePacked(r, s);
    }

    function _zeros(bytes memory) private pure returns (bytes memory) {
        return new bytes(65);
    }

    function _zerosWithV(bytes memory) private pure returns (bytes memory) {
        return bytes.concat(new bytes(64), hex"1b");
    }

    function _greatR(bytes memory signature) private pure returns (bytes memory) {
        (, uint256 s, uint8 v) = _parts(signature);
        return abi.encodePacked(ORDER, s, v);
    }
}
